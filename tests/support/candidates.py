"""Hypothesis strategies of candidates, small enough to build by the dozen."""

from hypothesis import strategies as st

from tfsparse.candidate import CONVOLUTIONS, DOWNSAMPLINGS, HEADS, Block, Candidate, Layer

layers = st.builds(
    Layer,
    convolution=st.sampled_from(CONVOLUTIONS),
    filters=st.integers(1, 6),
    kernel=st.integers(1, 5),
    cut=st.sampled_from([0.25, 0.5, 0.75]),
)
blocks = st.builds(
    Block,
    layers=st.lists(layers, min_size=1, max_size=2).map(tuple),
    downsampling=st.sampled_from(DOWNSAMPLINGS),
    factor=st.integers(1, 3),
    residual=st.booleans(),
)


def candidates() -> st.SearchStrategy[Candidate]:
    """Candidates of every kind of layer, block and head, with few filters."""
    return st.builds(
        Candidate,
        blocks=st.lists(blocks, min_size=1, max_size=3).map(tuple),
        head=st.sampled_from(HEADS),
        multi_scale=st.booleans(),
        dense=st.lists(st.integers(2, 8), max_size=2).map(tuple),
        input_factor=st.integers(1, 2),
        input_pooling=st.sampled_from(["average", "max"]),
        linear_depthwise=st.booleans(),
    )
