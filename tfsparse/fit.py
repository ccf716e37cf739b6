"""Fast training of one small Keras model on the CPU: a whole epoch is one call of one graph, traced once.

Small networks are bound by overhead, so per step there is as little as possible of it:

- all parameters live in one or two flat vectors, so that an optimiser's step is one fused operation, and the
  KL's gradient (closed form) a dozen, however many layers there are;
- rates, orders, augmentation's choices and where noise is taken from are arrays made before an epoch begins: the graph
  neither computes schedules nor draws random numbers (dropout excepted), and nothing retraces;
- the noise of the variational layers are windows, at random places, of a pool of normal numbers that is renewed every
  hundred steps or more: to draw them costs as much as the convolutions. Within a layer and step they are independent.

Models give logits. Not XLA: it makes these layers slower on the CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf

from tfsparse.augment import Augmentation
from tfsparse.candidate import FULL_BITS
from tfsparse.layers import (
    VARIATIONAL,
    GroupScale,
    TrainingContext,
    kl_divergence,
    training_context,
    variational_layers,
)
from tfsparse.layers.kl import kl_gradients
from tfsparse.levels import channel_axes, rounded
from tfsparse.schedule import Schedule

EVALUATION_BATCH = 500
ADAM_EPSILON = 1e-7
# A pool is this many times the largest layer's noise, and serves for at least so many steps.
POOL_FACTOR = 2
POOL_STEPS = 100
# A window begins at a multiple of so many floats (a cache line): TensorFlow then hands it out without copying.
POOL_ROW = 16


class TrainingDiverged(RuntimeError):
    """The loss or the weights of a training run are no longer finite numbers."""


@dataclass(frozen=True)
class EpochResult:
    """One epoch, counted from 0.

    `loss` is the mean cross-entropy of its training batches (nats, without the KL), `accuracy` the fraction of them
    classified rightly while training, `val_accuracy` that of the validation set after it (None: not evaluated),
    `seconds` its training, without validation.
    """

    epoch: int
    loss: float
    accuracy: float
    val_accuracy: float | None
    seconds: float


@dataclass(frozen=True)
class History:
    """A training run: its epochs, the KL at its end (nats), the number of images trained on, and where time went."""

    epochs: tuple[EpochResult, ...]
    kl: float
    images: int
    trace_seconds: float
    train_seconds: float
    evaluate_seconds: float

    @property
    def val_accuracy(self) -> float | None:
        """The last validation accuracy."""
        return self.epochs[-1].val_accuracy

    @property
    def images_per_second(self) -> float:
        """Training images a second, tracing and evaluation left out."""
        return self.images / self.train_seconds


@dataclass(frozen=True)
class Distillation:
    """A teacher's `logits` for the training images, [N, classes], and what they count for.

    The loss is (1 - weight) times the labels' cross-entropy plus weight * T^2 times the cross-entropy of the student's
    and the teacher's probabilities at `temperature` T (Hinton et al. 2015, arXiv 1503.02531).
    """

    logits: np.ndarray
    weight: float
    temperature: float = 3.0

    def __post_init__(self):
        if not 0 <= self.weight <= 1 or self.temperature <= 0:
            raise ValueError(f"weight is in 0..1 and temperature above 0, not {self.weight} and {self.temperature}")


Progress = Callable[[EpochResult], bool | None]


def fit(
    model: keras.Model,
    images: np.ndarray | tf.Tensor,
    labels: np.ndarray | tf.Tensor,
    schedule: Schedule,
    *,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    validate_every: int = 1,
    pooled_noise: bool = True,
    distillation: Distillation | None = None,
    weight_bits: int = FULL_BITS,
) -> History:
    """Train `model` (images/255 to logits) on uint8 `images` [N, H, W, C] and integer `labels` [N], and on a teacher's
    answers to the images where `distillation` has them. With fewer than 8 `weight_bits` the model computes with kernels
    rounded to so few levels (`levels.rounded`), and is left with such.

    The model's layers stay in the phases they are in. `progress` is called after every epoch, and ends training by
    returning True. Validation is evaluated every `validate_every` epochs and after the last. The same seed, weights
    and data give the same result on one thread. Raises TrainingDiverged, and leaves the weights as they were at the
    last evaluation, or at the start.
    """
    augmentation = augmentation or Augmentation()
    trainer = Trainer(model, images, labels, schedule, augmentation, seed, pooled_noise, distillation, weight_bits)
    evaluator = Evaluator(model) if validation is not None else None
    if validation is not None:
        validation = tf.convert_to_tensor(validation[0]), tf.convert_to_tensor(validation[1])
    results: list[EpochResult] = []
    evaluate_seconds = 0.0
    for epoch in range(schedule.epochs):
        loss, accuracy, seconds = trainer.run_epoch(epoch)
        val_accuracy = None
        last = epoch == schedule.epochs - 1
        if evaluator is not None and (last or (epoch + 1) % validate_every == 0):
            start = time.perf_counter()
            trainer.write_back()
            val_accuracy = evaluator.accuracy(*validation)
            evaluate_seconds += time.perf_counter() - start
        results.append(EpochResult(epoch, loss, accuracy, val_accuracy, seconds))
        if progress is not None and progress(results[-1]):
            break
    trainer.write_back()
    return History(
        epochs=tuple(results),
        kl=float(kl_divergence(model)),
        images=len(results) * trainer.steps * trainer.batch,
        trace_seconds=trainer.trace_seconds,
        train_seconds=sum(result.seconds for result in results),
        evaluate_seconds=evaluate_seconds,
    )


@dataclass
class _Group:
    """Variables that one optimiser's step moves as one flat vector; weight decay pulls at those elements that lie in
    `decayed` (begin, end)."""

    variables: list[keras.Variable]
    decayed: tuple[int, int] = (0, 0)
    values: tf.Variable = field(init=False)
    slots: list[tf.Variable] = field(init=False)

    def __post_init__(self):
        self.sizes = [int(np.prod(variable.shape)) for variable in self.variables]
        self.slots = []
        flat = [np.asarray(variable).ravel() for variable in self.variables]
        self.values = tf.Variable(np.concatenate(flat), dtype=tf.float32, trainable=False)

    def add_slots(self, count: int) -> None:
        self.slots = [tf.Variable(tf.zeros_like(self.values), trainable=False) for _ in range(count)]

    def parts(self, flat: tf.Tensor) -> list[tf.Tensor]:
        """The variables' values, shaped, as parts of the vector."""
        parts = tf.split(flat, self.sizes)
        return [tf.reshape(part, variable.shape) for part, variable in zip(parts, self.variables, strict=True)]


class Trainer:
    """Trains a model epoch by epoch; `fit` is the way in. The model sees nothing of it until `write_back`."""

    def __init__(
        self,
        model: keras.Model,
        images: np.ndarray | tf.Tensor,
        labels: np.ndarray | tf.Tensor,
        schedule: Schedule,
        augmentation: Augmentation,
        seed: int,
        pooled_noise: bool = True,
        distillation: Distillation | None = None,
        weight_bits: int = FULL_BITS,
    ):
        start = time.perf_counter()
        self.weight_bits = weight_bits
        self.distillation = distillation if distillation is not None and distillation.weight > 0 else None
        self.taught = self._teachers_answers(len(images))
        self.model, self.schedule, self.augmentation = model, schedule, augmentation
        self.images = tf.convert_to_tensor(images)
        self.labels = tf.cast(tf.convert_to_tensor(labels), tf.int32)
        self.count = len(images)
        if self.images.dtype != tf.uint8 or self.images.shape.rank != 4 or not self.count:
            raise ValueError(f"images are uint8 [N, H, W, C], not {self.images.dtype.name} {self.images.shape}")
        self.batch = min(schedule.batch_size, self.count)
        self.steps = max(1, min(schedule.samples_per_epoch or self.count, self.count) // self.batch)
        total = self.steps * schedule.epochs
        rates = schedule.learning_rates(total)
        step_rates = rates * schedule.adam_corrections(total) if schedule.optimiser == "adamw" else rates
        decays = rates * schedule.weight_decay
        self.rates = np.stack([step_rates, decays, schedule.kl_weights(total) / self.count], axis=1).astype(np.float32)
        self.rng = np.random.default_rng(seed)
        self.order = _Order(self.count, self.rng)
        self.pooled_noise = pooled_noise
        self.pool = tf.zeros([1, POOL_ROW])
        self.pool_age = POOL_STEPS
        self.largest_noise = 0
        self._gather_variables(seed)
        self.noisy_layers = len(self.noisy)
        self.run = self._trace()
        self.trace_seconds = time.perf_counter() - start

    def run_epoch(self, epoch: int) -> tuple[float, float, float]:
        """Train for one epoch (0-based); its loss, accuracy and seconds. Raises TrainingDiverged."""
        start = time.perf_counter()
        moves, gains = self.augmentation.draw(self.rng, self.steps, self.batch)
        rates = self.rates[epoch * self.steps : (epoch + 1) * self.steps]
        windows = self.rng.integers(0, 2**31 - 1, (self.steps, max(1, self.noisy_layers)), dtype=np.int32)
        self._renew_pool()
        order = self.order.take(self.steps * self.batch).reshape(self.steps, self.batch)
        arguments = [tf.constant(value) for value in (order, rates, moves, gains, windows)]
        data = self.images, self.labels, self.taught
        done, loss, correct, *self.state = self.run(*data, *arguments, self.pool, *self.state)
        done, loss, correct = int(done), float(loss), float(correct)
        if not np.isfinite(loss) or not all(bool(tf.reduce_all(tf.math.is_finite(g.values))) for g in self.groups):
            raise TrainingDiverged(f"the loss is not a number after step {done} of epoch {epoch + 1}")
        return loss / done, correct / (done * self.batch), time.perf_counter() - start

    def write_back(self) -> None:
        """Give the model the weights as trained so far."""
        for group in self.groups:
            for variable, value in zip(group.variables, group.parts(group.values.read_value()), strict=True):
                constrained = variable.constraint(value) if variable.constraint is not None else value
                variable.assign(self._rounded(variable, constrained))
        for variable, value in zip(self.model.non_trainable_variables, self.state, strict=True):
            variable.assign(value)

    def _teachers_answers(self, count: int) -> tf.Tensor:
        """The teacher's probabilities at its temperature, [N, classes]; an empty table where there is no teacher."""
        if not self.distillation:
            return tf.zeros([1, 1])
        if len(self.distillation.logits) != count:
            raise ValueError(f"a teacher's answers to {len(self.distillation.logits)} images do not fit {count} images")
        logits = tf.convert_to_tensor(self.distillation.logits, tf.float32)
        return tf.nn.softmax(logits / self.distillation.temperature)

    def _gather_variables(self, seed: int) -> None:
        """Order the parameters: kernels in the variational phase first (scales, which do not decay, at the very
        front), like their variances in a group apart."""
        self.noisy = [layer for layer in variational_layers(self.model) if layer.phase == VARIATIONAL]
        trainable = list(self.model.trainable_variables)
        noisy = [(layer, layer.kernel) for layer in self.noisy if layer.kernel.trainable]
        noisy.sort(key=lambda pair: not isinstance(pair[0], GroupScale))
        scales = sum(isinstance(layer, GroupScale) for layer, _ in noisy)
        means = [kernel for _, kernel in noisy]
        variances = [layer.log_sigma2 for layer, _ in noisy]
        taken = {id(variable) for variable in means + variances}
        rest = [variable for variable in trainable if id(variable) not in taken]
        kernels = [variable for variable in rest if len(variable.shape) > 1]
        others = [variable for variable in rest if len(variable.shape) <= 1]
        main = _Group([*means, *kernels, *others])
        main.decayed = sum(main.sizes[:scales]), sum(main.sizes[: len(means) + len(kernels)])
        factors = [np.full(variable.shape, layer.kl_factor, np.float32).ravel() for layer, variable in noisy]
        self.kl_factors = np.concatenate(factors) if factors else np.zeros(0, np.float32)
        self.groups = [main, _Group(variances)] if variances else [main]
        for group in self.groups:
            group.add_slots(2 if self.schedule.optimiser == "adamw" else 1)
        # Kernels that are noisy are not rounded: noise is more than a level apart.
        self.axes = channel_axes(self.model) if self.weight_bits < FULL_BITS and not noisy else {}
        place = {id(v): (g, i) for g, group in enumerate(self.groups) for i, v in enumerate(group.variables)}
        self.places = [place[id(variable)] for variable in trainable]
        for number, variable in enumerate(self.model.non_trainable_variables):
            if variable.dtype == "uint32":  # the state of a random generator, say dropout's
                variable.assign(np.array([seed, number], np.uint32))
        self.state = [tf.identity(variable.value) for variable in self.model.non_trainable_variables]

    def _trace(self):
        """The graph of an epoch, as a concrete function."""
        shape = self.images.shape
        specs = [
            tf.TensorSpec([None, *shape[1:]], tf.uint8),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None, self.taught.shape[1]], tf.float32),
            tf.TensorSpec([None, self.batch], tf.int32),
            tf.TensorSpec([None, self.rates.shape[1]], tf.float32),
            tf.TensorSpec([None, self.batch, 3], tf.int32),
            tf.TensorSpec([None, self.batch], tf.float32),
            tf.TensorSpec([None, max(1, self.noisy_layers)], tf.int32),
            tf.TensorSpec([None, POOL_ROW], tf.float32),
            *[tf.TensorSpec(value.shape, value.dtype) for value in self.state],
        ]

        def epoch(images, labels, taught, order, rates, moves, gains, windows, pool, *state):
            steps = tf.shape(order)[0]

            def unfinished(step, loss, correct, *state):
                return tf.logical_and(step < steps, tf.math.is_finite(loss))

            def body(step, loss, correct, *state):
                batch = tf.gather(images, order[step])
                batch = self.augmentation.move(batch, moves[step])
                batch = self.augmentation.brighten(tf.cast(batch, tf.float32) / 255.0, gains[step])
                answers = tf.gather(labels, order[step])
                probabilities = tf.gather(taught, order[step]) if self.distillation else None
                noise = self._noise(pool, windows[step]) if self.pooled_noise else None
                step_loss, right, state = self._step(batch, answers, probabilities, rates[step], noise, state)
                return step + 1, loss + step_loss, correct + right, *state

            zero = tf.zeros([])
            return tf.while_loop(unfinished, body, [0, zero, zero, *state])

        return tf.function(epoch, autograph=False).get_concrete_function(*specs)

    def _step(self, images, labels, taught, rates, noise, state):
        flats = [group.values.read_value() for group in self.groups]
        parts = [group.parts(flat) for group, flat in zip(self.groups, flats, strict=True)]
        values = [
            self._rounded(self.groups[group].variables[index], parts[group][index]) for group, index in self.places
        ]
        # The model's own order of variables is the order in which it hands out their values.
        with training_context(TrainingContext(noise=noise, layers_add_kl=False)):
            logits, state, penalties = self.model.stateless_call(
                values, list(state), images, training=True, return_losses=True
            )
        loss = tf.reduce_mean(self._cross_entropy(logits, labels))
        goal = loss
        if self.distillation:
            weight, temperature = self.distillation.weight, self.distillation.temperature
            soft = tf.nn.softmax_cross_entropy_with_logits(taught, logits / temperature)
            goal = (1.0 - weight) * loss + weight * temperature**2 * tf.reduce_mean(soft)
        gradients = tf.gradients(tf.add_n([goal, *penalties]), flats)
        if len(self.groups) > 1:
            means = sum(self.groups[1].sizes)
            by_means, by_variances = kl_gradients(flats[0][:means], flats[1])
            rest = tf.zeros([sum(self.groups[0].sizes) - means])
            gradients[0] += rates[2] * tf.concat([self.kl_factors * by_means, rest], 0)
            gradients[1] += rates[2] * self.kl_factors * by_variances
        if self.schedule.clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self.schedule.clip_norm)
        for number, (group, flat, gradient) in enumerate(zip(self.groups, flats, gradients, strict=True)):
            self._update(group, flat, gradient, rates, 1.0 if number == 0 else self.schedule.variance_rate)
        right = tf.reduce_sum(tf.cast(tf.math.in_top_k(labels, logits, 1), tf.float32))
        return loss, right, state

    def _rounded(self, variable: keras.Variable, value: tf.Tensor) -> tf.Tensor:
        """A variable's value as the model is to compute with it."""
        axis = self.axes.get(id(variable))
        return value if axis is None else rounded(value, self.weight_bits, axis)

    def _cross_entropy(self, logits, labels):
        smoothing = self.schedule.label_smoothing
        if not smoothing:
            return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        classes = logits.shape[-1]
        off = smoothing / classes
        return tf.nn.softmax_cross_entropy_with_logits(tf.one_hot(labels, classes, 1.0 - smoothing + off, off), logits)

    def _update(self, group, flat, gradient, rates, factor):
        schedule = self.schedule
        begin, end = group.decayed
        if schedule.weight_decay and end > begin:
            pull = rates[1] * flat[begin:end]
            group.values.assign_sub(tf.pad(pull, [[begin, sum(group.sizes) - end]]))
        if schedule.optimiser == "sgd":
            tf.raw_ops.ResourceApplyKerasMomentum(
                var=group.values.handle,
                accum=group.slots[0].handle,
                lr=rates[0] * factor,
                grad=gradient,
                momentum=schedule.momentum,
            )
            return
        # The corrections for the moments' start are in the rate already: the powers of the betas are given as zero.
        tf.raw_ops.ResourceApplyAdam(
            var=group.values.handle,
            m=group.slots[0].handle,
            v=group.slots[1].handle,
            beta1_power=0.0,
            beta2_power=0.0,
            lr=rates[0] * factor,
            beta1=schedule.beta1,
            beta2=schedule.beta2,
            epsilon=ADAM_EPSILON,
            grad=gradient,
        )

    def _noise(self, pool: tf.Tensor, windows: tf.Tensor):
        """A noise source that hands out windows of the pool: the layers' in turn."""
        asked = 0

        def noise(like: tf.Tensor) -> tf.Tensor:
            nonlocal asked
            size = int(np.prod(like.shape))
            self.largest_noise = max(self.largest_noise, size)
            rows = -(-size // POOL_ROW)
            window = windows[asked % max(1, self.noisy_layers)] % (tf.shape(pool)[0] - rows + 1)
            asked += 1
            flat = tf.reshape(tf.slice(pool, [window, 0], [rows, POOL_ROW]), [rows * POOL_ROW])
            return tf.reshape(flat[:size], like.shape)

        return noise

    def _renew_pool(self) -> None:
        if self.largest_noise and self.pool_age >= POOL_STEPS:
            rows = POOL_FACTOR * -(-self.largest_noise // POOL_ROW)
            key = self.rng.integers(0, 2**31 - 1, 2, dtype=np.int32)
            self.pool = tf.random.stateless_normal([rows, POOL_ROW], key)
            self.pool_age = 0
        self.pool_age += self.steps


class _Order:
    """An endless order of the samples: a random permutation after the other."""

    def __init__(self, count: int, rng: np.random.Generator):
        self.count, self.rng = count, rng
        self.left = np.empty(0, np.int32)

    def take(self, samples: int) -> np.ndarray:
        """The next `samples` indices, int32."""
        while len(self.left) < samples:
            self.left = np.concatenate([self.left, self.rng.permutation(self.count).astype(np.int32)])
        taken, self.left = self.left[:samples], self.left[samples:]
        return taken


class Evaluator:
    """A model's answers in big batches; traced once, reads the model's weights anew at each call."""

    def __init__(self, model: keras.Model, batch: int = EVALUATION_BATCH):
        self.batch = batch
        signature = [tf.TensorSpec([None, *model.input_shape[1:]], tf.uint8)]
        self._run = tf.function(
            lambda images: model(tf.cast(images, tf.float32) / 255.0, training=False),
            input_signature=signature,
            autograph=False,
        )

    def logits(self, images: np.ndarray | tf.Tensor) -> np.ndarray:
        """The logits of uint8 `images` [N, H, W, C], float32 [N, classes]."""
        images = tf.convert_to_tensor(images)
        starts = range(0, len(images), self.batch)
        return np.concatenate([self._run(images[start : start + self.batch]).numpy() for start in starts])

    def accuracy(self, images: np.ndarray | tf.Tensor, labels: np.ndarray | tf.Tensor) -> float:
        """The fraction of `images` whose greatest logit is the label's."""
        return float(np.mean(np.argmax(self.logits(images), axis=-1) == np.asarray(labels)))
