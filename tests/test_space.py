"""The design space: round trips, ranges, the encoding and the morphs, as properties of random candidates."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfsparse.budgets import Budgets, parse_accuracy, parse_bytes
from tfsparse.candidate import HEADS, MAX_BLOCKS, Block, Candidate, Layer, Training
from tfsparse.errors import UserError
from tfsparse.morphism import FAMILIES, neighbour
from tfsparse.space import DesignSpace

GREY = DesignSpace((28, 28, 1), classes=10)
COLOUR = DesignSpace((32, 32, 3), classes=2)
SPARSE = DesignSpace((28, 28, 1), classes=10, prunings=("structured",))
spaces = st.sampled_from([GREY, COLOUR, SPARSE])
seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=150, deadline=None)


@quick
@given(spaces, seeds)
def test_values_and_candidates_are_the_same_thing(space, seed):
    candidate = space.sample(np.random.default_rng(seed))
    values = space.values(candidate)
    assert space.contains(candidate)
    assert space.candidate(values) == candidate
    assert space.values(space.candidate(values)) == values
    # Through JSON as well, which is how records and Keras Tuner keep them.
    assert Candidate.from_json(candidate.to_json()) == candidate
    assert set(values) == {parameter.name for parameter in space.parameters if parameter.exists(values)}


@quick
@given(spaces, st.lists(st.floats(0, 1, exclude_max=True), min_size=COLOUR.dimensions, max_size=COLOUR.dimensions))
def test_every_point_of_the_unit_cube_is_a_candidate(space, u):
    assert space.contains(space.at(u[: space.dimensions]))


@quick
@given(spaces, seeds)
def test_morphs_stay_in_the_space_and_change_something(space, seed):
    rng = np.random.default_rng(seed)
    candidate = space.sample(rng)
    for family in FAMILIES:
        morph = neighbour(space, candidate, rng, [family])
        if morph is not None:
            assert morph.family == family
            assert space.contains(morph.candidate), (family, morph.candidate)
            assert morph.candidate != candidate
    assert neighbour(space, candidate, rng) is not None


def test_a_morph_changes_one_thing():
    rng = np.random.default_rng(1)
    changed_training = changed_architecture = 0
    for _ in range(200):
        candidate = COLOUR.sample(rng)
        morph = neighbour(COLOUR, candidate, rng)
        same_architecture = morph.candidate.architecture_id == candidate.architecture_id
        assert same_architecture == morph.family.startswith("training ")
        if same_architecture:
            changed_training += 1
            continue
        changed_architecture += 1
        assert morph.candidate.training == candidate.training
        assert abs(len(morph.candidate.blocks) - len(candidate.blocks)) <= 1
        before, after = (sum(len(b.layers) for b in c.blocks) for c in (candidate, morph.candidate))
        assert morph.family == "remove block" or abs(after - before) <= 1
    assert changed_training > 30 and changed_architecture > 30


def test_every_family_of_morphs_is_met():
    rng = np.random.default_rng(2)
    met = {morph.family for _ in range(2000) if (morph := neighbour(COLOUR, COLOUR.sample(rng), rng))}
    assert met == set(FAMILIES)


def test_candidates_that_mean_the_same_are_one():
    layer = Layer("plain", 8, 3)
    plain = Candidate((Block((layer,)),))
    same = Candidate(
        (Block((replace(layer, cut=0.5),), downsampling="max", factor=1),),
        multi_scale=True,
        grey=True,
        input_pooling="max",
        linear_depthwise=False,
        training=Training(kl_weight=3.0),
    )
    assert same != plain
    assert GREY.canonical(same) == plain
    assert not GREY.contains(same)


def test_a_space_of_some_kinds_of_pruning_holds_no_others():
    assert SPARSE.dimensions == GREY.dimensions
    dense = DesignSpace((28, 28, 1), classes=10, prunings=("none",))
    for space, kind in ((SPARSE, "structured"), (dense, "none")):
        candidate = space.at([0.3] * space.dimensions)
        assert candidate.training.pruning == kind and space.smallest.training.pruning == kind
        # But for that it is the candidate that the whole space has there.
        whole = GREY.at([0.3] * GREY.dimensions)
        assert candidate.architecture == whole.architecture
        assert not dense.contains(space.canonical(replace(candidate, training=Training(pruning="structured"))))
        assert neighbour(space, candidate, np.random.default_rng(0), ["training pruning"]) is None


def test_candidates_outside_the_ranges_are_not_in_the_space():
    candidate = Candidate((Block((Layer("plain", 8, 3),)),))
    assert GREY.contains(candidate)
    assert not GREY.contains(replace(candidate, blocks=candidate.blocks * (MAX_BLOCKS + 1)))
    assert not GREY.contains(replace(candidate, blocks=()))
    assert not GREY.contains(replace(candidate, dense=(1,)))
    assert not GREY.contains(replace(candidate, dense=(9, 9, 9)))
    assert not GREY.contains(replace(candidate, head="none"))
    assert not GREY.contains(replace(candidate, blocks=(Block((Layer("plain", 101, 3),)),)))
    assert not GREY.contains(replace(candidate, training=Training(learning_rate=1.0)))
    assert not GREY.contains(replace(candidate, grey=True))
    assert COLOUR.contains(replace(candidate, grey=True))


def test_the_prior_reaches_every_choice_and_leans_to_small_networks():
    rng = np.random.default_rng(3)
    candidates = [COLOUR.sample(rng) for _ in range(3000)]
    seen: dict[str, set] = {}
    for candidate in candidates:
        for name, value in COLOUR.values(candidate).items():
            seen.setdefault(COLOUR.parameter(name).group, set()).add(value)
    for parameter in COLOUR.parameters:
        if parameter.kind != "float" and not parameter.log:
            assert set(parameter.domain) <= seen[parameter.group], parameter.name
    assert {1, 100} <= seen["filters"]
    counts = [COLOUR.network(c).weight_count for c in candidates if COLOUR.refusal(c) is None]
    assert np.median(counts) < 10_000
    assert len(counts) > 0.7 * len(candidates)


def test_a_floats_prior_falls_from_its_mode_to_both_ends():
    drawn = np.random.default_rng(0).random(20_000)
    for name, low, mode, high in (("learning_rate", 1e-3, 0.02, 0.1), ("dropout", 0.0, 0.0, 0.5)):
        parameter = GREY.parameter(f"training/{name}")
        assert (parameter.low, parameter.mode, parameter.high) == (low, mode, high)
        # Its quantiles rise from end to end, and the distribution is the triangle's.
        values = [parameter.draw(u) for u in np.linspace(0, 1 - 1e-9, 201)]
        assert values == sorted(values) and (values[0], values[-1]) == pytest.approx((low, high), rel=1e-2)
        places = np.array([parameter.unit(parameter.draw(u)) for u in drawn])
        peak = parameter.unit(mode)
        assert np.mean(places) == pytest.approx((1 + peak) / 3, abs=0.01)
        for width in (0.1, 0.3):
            near = np.mean((places > peak - width * peak) & (places < peak + width * (1 - peak)))
            assert near == pytest.approx(1 - (1 - width) ** 2, abs=0.02)
    even = [GREY.parameter("training/epochs").unit(GREY.parameter("training/epochs").draw(u)) for u in (0.2, 0.5, 0.8)]
    assert even == pytest.approx([0.2, 0.5, 0.8], abs=0.01)


@quick
@given(spaces, seeds)
def test_the_encoding_tells_what_exists(space, seed):
    rng = np.random.default_rng(seed)
    candidates = [c for c in (space.sample(rng) for _ in range(8)) if space.refusal(c) is None]
    encoded = space.encode(candidates)
    assert encoded.unit.shape == encoded.active.shape == (len(candidates), space.dimensions)
    assert np.isfinite(encoded.features).all()
    assert (encoded.unit[~encoded.active] == 0).all()
    for row, candidate in enumerate(candidates):
        values = space.values(candidate)
        for column, parameter in enumerate(space.parameters):
            if parameter.name != "linear_depthwise":
                assert encoded.active[row, column] == (parameter.name in values)
            if not parameter.categorical:
                assert 0 <= encoded.unit[row, column] <= 1


def test_keras_tuner_knows_the_whole_space():
    import keras_tuner

    for space in (GREY, COLOUR):
        hp = keras_tuner.HyperParameters()
        space.declare(hp)
        assert {item.name for item in hp.space} == {parameter.name for parameter in space.parameters}
        rng = np.random.default_rng(4)
        for _ in range(100):
            values = space.values(space.sample(rng))
            trial = hp.copy()
            trial.values = dict(values)
            # Keras Tuner drops values that it takes for inactive and adds those that it misses.
            trial.ensure_active_values()
            assert trial.values == values
            reread = keras_tuner.HyperParameters.from_config(trial.get_config())
            assert reread.values == values


def test_budgets_turn_candidates_away_by_their_shapes():
    tight = DesignSpace((28, 28, 1), classes=10, budgets=Budgets(flash=4096, ram=2048))
    rng = np.random.default_rng(5)
    candidates = [tight.sample(rng) for _ in range(500)]
    reasons = [tight.refusal(candidate) for candidate in candidates]
    kept = [candidate for candidate, reason in zip(candidates, reasons, strict=True) if reason is None]
    whole = [candidate for candidate in kept if candidate.training.pruning in ("none", "unstructured")]
    assert whole and all(tight.network(candidate).least_memory(False) <= 2048 for candidate in whole)
    assert len(whole) < len(kept)
    assert any("RAM" in reason for reason in reasons if reason)
    assert any("flash" in reason for reason in reasons if reason)
    assert any("does not fit" in reason for reason in reasons if reason)
    assert tight.least.ram == 28 * 28
    assert all(tight.network(candidate).least_memory(False) >= tight.least.ram for candidate in kept)


@pytest.mark.parametrize("text", ["2048", "2048B", "2k", "2K", "2KB", "2kb", "2 KiB", "2.0k"])
def test_sizes_are_read_as_people_write_them(text):
    assert parse_bytes(text) == 2048


@pytest.mark.parametrize("text", ["", "two", "-1", "0", "2G", "2k2", "KB"])
def test_a_bad_size_says_how_to_write_one(text):
    with pytest.raises(UserError, match="2KB"):
        parse_bytes(text)


@pytest.mark.parametrize("text", ["0.985", "98.5%", "98.5", " 98.5 % "])
def test_accuracies_are_read_as_people_write_them(text):
    assert parse_accuracy(text) == pytest.approx(0.985)


@pytest.mark.parametrize("text", ["", "high", "0", "1", "100%", "-5", "120", "nan"])
def test_a_bad_accuracy_says_how_to_write_one(text):
    with pytest.raises(UserError, match=r"98\.5%"):
        parse_accuracy(text)


def test_budgets_of_before_there_was_a_least_accuracy_are_read():
    assert Budgets.from_json({"flash": 4096, "ram": None}) == Budgets(flash=4096)
    whole = Budgets(4096, 2048, 0.02)
    assert Budgets.from_json(whole.to_json()) == whole
    assert str(whole) == "flash 4096 B, ram 2048 B, accuracy 98.00%"


def test_pruning_of_channels_may_yet_meet_a_budget_that_the_shapes_exceed():
    """Channels can go, positions cannot: only what one channel needs is out of reach."""
    block = Block((Layer("plain", 50, 3),), factor=2)
    for kind, ram, refused in (
        ("unstructured", 2000, True),
        ("structured", 2000, False),
        ("both", 2000, False),
        ("both", 700, True),
    ):
        space = DesignSpace((28, 28, 1), classes=10, budgets=Budgets(ram=ram))
        candidate = Candidate((block,), head="average", training=Training(pruning=kind))
        assert (space.refusal(candidate) is not None) == refused, (kind, ram)


def test_fed_by_rows_an_image_need_not_fit_the_budget():
    """3,072 bytes of image, 1,280 of RAM: no candidate with the image as a whole, many with its rows one by one."""
    budgets = Budgets(ram=1280)
    whole, fed = (DesignSpace((32, 32, 3), 10, budgets, by_rows=by_rows) for by_rows in (False, True))
    rng = np.random.default_rng(7)
    candidates = [whole.sample(rng) for _ in range(200)]
    # A grey copy of the image is made outside the model.
    coloured = [candidate for candidate in candidates if not candidate.grey]
    assert all(whole.refusal(candidate) for candidate in coloured)
    allowed = [candidate for candidate in coloured if not fed.refusal(candidate)]
    assert len(allowed) > 20
    unpruned = [candidate for candidate in allowed if candidate.training.pruning == "none"]
    assert unpruned and all(fed.network(candidate).least_memory(True) <= 1280 for candidate in unpruned)
    assert any("RAM" in (fed.refusal(candidate) or "") for candidate in coloured)
    assert fed.least.ram < 100 < whole.least.ram
    assert fed.refusal(fed.smallest) is None
    assert sorted(candidate.head for candidate in fed.smallest_by_head) == sorted(HEADS)
    least = [fed.network(candidate).least_memory(True) for candidate in fed.smallest_by_head]
    assert least == sorted(least) and least[0] == fed.least.ram


@pytest.mark.slow
@pytest.mark.parametrize("by_rows", [False, True])
def test_what_shapes_need_is_never_more_than_the_compiler_plans(by_rows, tmp_path):
    """With weights of which none is zero: a channel that pruning has emptied is taken out by the compiler."""
    from tfsparse.compiler import compile_model
    from tfsparse.convert import quantise
    from tfsparse.network import WEIGHTED
    from tfsparse.rewrite import OpWeights

    space = DesignSpace((16, 16, 1), 10, max_macs=200_000, by_rows=by_rows)
    rng = np.random.default_rng(11)
    drawn = [candidate for candidate in (space.sample(rng) for _ in range(40)) if space.refusal(candidate) is None]
    for number, candidate in enumerate([space.smallest, *drawn[:5]]):
        network, weights = space.network(candidate), {}
        for op in network.ops:
            if op.kind in WEIGHTED:
                shape = network.kernel_shape(op)
                signs = rng.choice([-1, 1], shape)
                weights[op.name] = OpWeights(
                    (signs * rng.uniform(0.5, 1, shape)).astype(np.float32), np.full(shape[-1], 0.5, np.float32)
                )
        model = quantise(network, weights, rng.random((8, 16, 16, 1), dtype=np.float32))
        compiled = compile_model(model, tmp_path / str(number), by_rows=by_rows)
        assert network.least_memory(by_rows) <= compiled.arena
