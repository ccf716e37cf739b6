"""Baselines: nearest neighbours, SVM, boosted trees, a dense net and LeNet-5, each with its grid and its size.

Hyperparameters are chosen by validation accuracy over a small grid; the choice is then judged on the test part, once.
Sizes are counted as Kumar, Goyal and Varma do for their baselines ("Resource-efficient Machine Learning in 2 KB RAM for
the Internet of Things", ICML 2017): what has to be stored to predict, four bytes a number, no code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras

    from tfsparse_datasets import Dataset, Split

FLOAT_BYTES = 4
CHUNK = 1000  # images whose distances to all training images are in memory at once
SEED = 0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Baseline:
    """What a method comes to on one data set. Accuracies are shares, `model_bytes` as `counted_as` says in words."""

    test_accuracy: float
    val_accuracy: float
    model_bytes: int
    counted_as: str
    trained_on: int
    chosen: dict[str, Any]
    grid: list[dict[str, Any]] = field(default_factory=list)  # every choice with its val_accuracy


def flat(images: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, C] -> float32 [N, H * W * C] in 0..1."""
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


def some(split: Split, most: int | None) -> Split:
    """At most `most` images: parts are in shuffled order, so the first are a fair sample."""
    return split if most is None or len(split) <= most else split.take(np.arange(most))


def best(grid: Sequence[dict[str, Any]]) -> int:
    """The first of those best on validation."""
    return max(range(len(grid)), key=lambda i: grid[i]["val_accuracy"])


def _distances(some_points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances float32 [N, M] by one matrix product."""
    squares = (some_points**2).sum(1)[:, None] + (others**2).sum(1)[None, :]
    return np.maximum(squares - 2 * (some_points @ others.T), 0)


NEIGHBOURS = (1, 3, 5, 9, 15)


def knn(dataset: Dataset, most: int | None, say: Say) -> Baseline:
    """k nearest neighbours, Euclidean, majority vote; of equal counts the class of the nearer sum wins."""
    train = some(dataset.train, most)
    points, classes = flat(train.images), len(dataset.class_names)

    def predictions(split: Split, what: str) -> dict[int, np.ndarray]:
        found: dict[int, list[np.ndarray]] = {k: [] for k in NEIGHBOURS}
        for start in range(0, len(split), CHUNK):
            say(f"{what}: {start}/{len(split)}")
            distances = _distances(flat(split.images[start : start + CHUNK]), points)
            near = np.argpartition(distances, max(NEIGHBOURS) - 1, axis=1)[:, : max(NEIGHBOURS)]
            order = np.take_along_axis(distances, near, axis=1).argsort(axis=1)
            labels = train.labels[np.take_along_axis(near, order, axis=1)]
            # A vote is worth a little less the farther it is, so that ties go to the nearer class.
            for k in NEIGHBOURS:
                votes = np.zeros((len(labels), classes))
                for place in range(k):
                    votes[np.arange(len(labels)), labels[:, place]] += 1 - 1e-3 * place
                found[k].append(votes.argmax(axis=1))
        return {k: np.concatenate(parts) for k, parts in found.items()}

    on_validation = predictions(dataset.validation, "validation")
    grid = [{"k": k, "val_accuracy": _share(on_validation[k], dataset.validation)} for k in NEIGHBOURS]
    chosen = grid[best(grid)]
    test = predictions(dataset.test, "test")[chosen["k"]]
    return Baseline(
        test_accuracy=_share(test, dataset.test),
        val_accuracy=chosen["val_accuracy"],
        model_bytes=FLOAT_BYTES * points.size,
        counted_as="every training image, float32",
        trained_on=len(train),
        chosen={"k": chosen["k"]},
        grid=grid,
    )


def _share(predictions: np.ndarray, split: Split) -> float:
    return round(float(np.mean(predictions == split.labels)), 6)


PENALTIES = (1.0, 5.0, 25.0)
WIDTHS = (0.5, 1.0, 2.0)  # of the kernel: gamma as a multiple of 1 / (features x variance)
CHOOSING = 3000  # images on which the SVM's hyperparameters are chosen


def rbf_svm(dataset: Dataset, most: int | None, say: Say) -> Baseline:
    """A support vector machine with the kernel exp(-gamma |x - y|^2), one against one for several classes.

    C and gamma are chosen with the first 3,000 training images, and the choice is trained on `most`.
    """
    from sklearn.svm import SVC

    train = some(dataset.train, most)
    points = flat(train.images)
    unit = 1 / (points.shape[1] * float(points.var()))

    def trained(count: int, distances: np.ndarray, penalty: float, gamma: float) -> SVC:
        machine = SVC(C=penalty, kernel="precomputed", cache_size=500)
        return machine.fit(np.exp(-gamma * distances[:count, :count], dtype=np.float64), train.labels[:count])

    def predictions(machine: SVC, split: Split, count: int, gamma: float, what: str) -> np.ndarray:
        found = []
        for start in range(0, len(split), CHUNK):
            say(f"{what}: {start}/{len(split)}")
            distances = _distances(flat(split.images[start : start + CHUNK]), points[:count])
            found.append(machine.predict(np.exp(-gamma * distances, dtype=np.float64)))
        return np.concatenate(found)

    distances = _distances(points, points)
    count, grid = min(CHOOSING, len(train)), []
    # A few thousand validation images tell the choices apart; predicting is what takes long.
    judged = some(dataset.validation, CHOOSING)
    for penalty in PENALTIES:
        for width in WIDTHS:
            say(f"C {penalty:g}, gamma {width:g}")
            machine = trained(count, distances, penalty, width * unit)
            share = _share(predictions(machine, judged, count, width * unit, f"C {penalty:g}, gamma {width:g}"), judged)
            grid.append({"C": penalty, "gamma": width * unit, "trained_on": count, "val_accuracy": share})
    chosen = grid[best(grid)]
    say("the choice")
    machine = trained(len(train), distances, chosen["C"], chosen["gamma"])
    val = predictions(machine, dataset.validation, len(train), chosen["gamma"], "validation")
    test = predictions(machine, dataset.test, len(train), chosen["gamma"], "test")
    vectors = len(machine.support_)
    return Baseline(
        test_accuracy=_share(test, dataset.test),
        val_accuracy=_share(val, dataset.validation),
        model_bytes=FLOAT_BYTES * (vectors * points.shape[1] + machine.dual_coef_.size + machine.intercept_.size),
        counted_as=f"{vectors:,} support vectors, their coefficients and the intercepts, float32",
        trained_on=len(train),
        chosen={"C": chosen["C"], "gamma": chosen["gamma"]},
        grid=grid,
    )


RATES = (0.1, 0.3)
LEAVES = (15, 31)
ITERATIONS = 100


def gbdt(dataset: Dataset, most: int | None, say: Say) -> Baseline:
    """Gradient-boosted trees on histograms; the number of trees is chosen on validation, too."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    train = some(dataset.train, most)
    points, validation = flat(train.images), flat(dataset.validation.images)
    grid, forests = [], []
    for rate in RATES:
        for leaves in LEAVES:
            say(f"rate {rate:g}, {leaves} leaves")
            forest = HistGradientBoostingClassifier(
                learning_rate=rate, max_leaf_nodes=leaves, max_iter=ITERATIONS, early_stopping=False, random_state=SEED
            ).fit(points, train.labels)
            shares = [_share(guess, dataset.validation) for guess in forest.staged_predict(validation)]
            trees = int(np.argmax(shares)) + 1
            grid.append(
                {"learning_rate": rate, "leaves": leaves, "iterations": trees, "val_accuracy": shares[trees - 1]}
            )
            forests.append(forest)
    at = best(grid)
    chosen, forest = grid[at], forests[at]
    test = flat(dataset.test.images)
    guess = next(islice(forest.staged_predict(test), chosen["iterations"] - 1, None))
    nodes = [tree.nodes for round_ in forest._predictors[: chosen["iterations"]] for tree in round_]
    inner = sum(int((~table["is_leaf"].astype(bool)).sum()) for table in nodes)
    leaves = sum(int(table["is_leaf"].astype(bool).sum()) for table in nodes)
    return Baseline(
        test_accuracy=_share(guess, dataset.test),
        val_accuracy=chosen["val_accuracy"],
        model_bytes=FLOAT_BYTES * (2 * inner + leaves),
        counted_as=f"{len(nodes):,} trees: feature and threshold of each split, value of each leaf, 4 bytes each",
        trained_on=len(train),
        chosen={name: chosen[name] for name in ("learning_rate", "leaves", "iterations")},
        grid=grid,
    )


HIDDEN = (32, 128)
NET_RATES = (0.002, 0.006)
SAMPLES = 500_000  # training images shown to a net, in 8 to 60 epochs
LEAST_EPOCHS, MOST_EPOCHS = 8, 60


def dense_net(dataset: Dataset, most: int | None, say: Say) -> Baseline:
    """One hidden layer of ReLUs."""
    return _nets(
        dataset, most, say, [{"hidden": hidden, "rate": rate} for hidden in HIDDEN for rate in NET_RATES], _dense
    )


def lenet5(dataset: Dataset, most: int | None, say: Say) -> Baseline:
    """LeNet-5 with ReLUs and max pooling: 6 and 16 maps of 5x5, 120, 84; its second convolution unpadded where the
    map allows."""
    return _nets(dataset, most, say, [{"rate": rate} for rate in NET_RATES], _lenet)


def _dense(shape: tuple[int, int, int], classes: int, choice: dict[str, Any]) -> keras.Model:
    from keras import Sequential, layers

    return Sequential(
        [
            layers.Input(shape),
            layers.Flatten(),
            layers.Dense(choice["hidden"], activation="relu"),
            layers.Dense(classes),
        ]
    )


def _lenet(shape: tuple[int, int, int], classes: int, choice: dict[str, Any]) -> keras.Model:
    from keras import Sequential, layers

    padding = "valid" if min(shape[:2]) >= 20 else "same"
    return Sequential(
        [
            layers.Input(shape),
            layers.Conv2D(6, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(16, 5, padding=padding, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(120, activation="relu"),
            layers.Dense(84, activation="relu"),
            layers.Dense(classes),
        ]
    )


def _nets(dataset, most, say, choices, build) -> Baseline:
    """Train a Keras model of each choice, from one seed, with the shifts that the search trains with."""
    import keras

    from tfsparse.augment import augmentation_of
    from tfsparse.fit import Evaluator, fit
    from tfsparse.schedule import Schedule

    train = some(dataset.train, most)
    epochs = max(LEAST_EPOCHS, min(MOST_EPOCHS, SAMPLES // len(train)))
    grid, models = [], []
    for choice in choices:
        keras.utils.set_random_seed(SEED)
        model = build(dataset.shape, len(dataset.class_names), choice)
        words = ", ".join(f"{name} {value:g}" for name, value in choice.items())
        fit(
            model,
            train.images,
            train.labels,
            Schedule(epochs=epochs, learning_rate=choice["rate"], weight_decay=1e-3),
            augmentation=augmentation_of(dataset.name, 0.5),
            seed=SEED,
            progress=lambda result, words=words: say(f"{words}: epoch {result.epoch + 1}/{epochs}"),
        )
        share = Evaluator(model).accuracy(dataset.validation.images, dataset.validation.labels)
        grid.append({**choice, "epochs": epochs, "val_accuracy": round(share, 6)})
        models.append(model)
    at = best(grid)
    model = models[at]
    return Baseline(
        test_accuracy=round(Evaluator(model).accuracy(dataset.test.images, dataset.test.labels), 6),
        val_accuracy=grid[at]["val_accuracy"],
        model_bytes=FLOAT_BYTES * model.count_params(),
        counted_as=f"{model.count_params():,} weights and biases, float32",
        trained_on=len(train),
        chosen={name: value for name, value in grid[at].items() if name != "val_accuracy"},
        grid=grid,
    )


METHODS: dict[str, Callable[[Dataset, int | None, Say], Baseline]] = {
    "knn": knn,
    "rbf-svm": rbf_svm,
    "gbdt": gbdt,
    "dense": dense_net,
    "lenet5": lenet5,
}
TITLES = {
    "knn": "k nearest neighbours",
    "rbf-svm": "RBF-SVM",
    "gbdt": "gradient-boosted trees",
    "dense": "dense net",
    "lenet5": "LeNet-5",
}
