"""What the Sparse Variational Dropout layers share: the posterior of the kernel, its phases, its mask and its noise."""

from __future__ import annotations

import keras
import tensorflow as tf

from tfsparse.layers import kl
from tfsparse.layers.context import KLWeight, current_context

DENSE = "dense"
VARIATIONAL = "variational"
FROZEN = "frozen"
PHASES = (DENSE, VARIATIONAL, FROZEN)

# Added to the variance of the outputs: the square root's gradient stays finite where all inputs are zero.
VARIANCE_EPSILON = 1e-8
# Beyond these the noise of a weight is nothing, or has long drowned it: the exponential is kept from overflow.
LOG_SIGMA2_RANGE = (-20.0, 4.0)


class _KeepMask(keras.constraints.Constraint):
    """Puts a frozen layer's pruned weights back to exactly zero after an optimiser's step."""

    def __init__(self, mask: keras.Variable):
        self.mask = mask

    def __call__(self, kernel):
        return kernel * self.mask


class VariationalLayer(keras.layers.Layer):
    """A layer that is linear in its kernel, with an independent normal posterior N(w, sigma^2) on every weight.

    Additive parametrisation: `kernel` holds the means w, `log_sigma2` the logarithms of the variances. A subclass says
    what the kernel's shape is and how the layer is linear in it (`kernel_shape`, `linear`).

    The layer is in one of three phases; it is changed only outside of traced functions, which must be traced anew:

    - `dense`: an ordinary layer, no noise, no KL.
    - `variational`: in training the outputs are drawn from N(linear(x, w), linear(x^2, sigma^2)) (local
      reparametrisation, Kingma et al. 2015); at inference the kernel is the mean, with zeros where log alpha exceeds
      `threshold`.
    - `frozen`: deterministic; the mask is fixed and pruned weights are exactly zero in every step of every optimiser.

    Arguments: `threshold`, the log alpha above which a weight is pruned; `initial_log_sigma2`; `prunable` False makes
    it an ordinary layer for good (no variances, no mask); `seed` of the noise that the layer draws itself.
    Inputs are float tensors, channels last. Everything but the training context is saved with the layer.
    """

    def __init__(
        self,
        *,
        activation=None,
        use_bias: bool = True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        threshold: float = 3.0,
        initial_log_sigma2: float = -10.0,
        prunable: bool = True,
        phase: str = VARIATIONAL,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if phase not in PHASES:
            raise ValueError(f"phase is one of {', '.join(PHASES)}, not {phase!r}")
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.threshold = float(threshold)
        self.initial_log_sigma2 = float(initial_log_sigma2)
        self.prunable = prunable
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.kl_weight: KLWeight | None = None
        # How often the KL of each element of the kernel counts.
        self.kl_factor = 1.0
        self._phase = phase if prunable else DENSE
        self.log_sigma2 = self.kept = None

    # What a subclass defines.

    def kernel_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int, ...]:
        """The shape of the kernel for inputs of `input_shape` (batch first)."""
        raise NotImplementedError

    def bias_size(self, kernel_shape: tuple[int, ...]) -> int:
        """The number of output channels or units."""
        return kernel_shape[-1]

    def linear(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """The layer's linear map, without bias."""
        raise NotImplementedError

    # Keras.

    def build(self, input_shape):
        shape = self.kernel_shape(tuple(input_shape))
        self.kernel = self.add_weight(shape=shape, initializer=self.kernel_initializer, name="kernel")
        self.bias = None
        if self.use_bias:
            size = (self.bias_size(shape),)
            self.bias = self.add_weight(shape=size, initializer=self.bias_initializer, name="bias")
        if self.prunable:
            start = keras.initializers.Constant(self.initial_log_sigma2)
            self.log_sigma2 = self.add_weight(shape=shape, initializer=start, name="log_sigma2")
            self.kept = self.add_weight(shape=shape, initializer="ones", trainable=False, name="kept")
        self._enter(self._phase)

    def call(self, inputs, training=False):
        kernel = tf.convert_to_tensor(self.kernel)
        if self._phase == VARIATIONAL and training:
            outputs = self._sample(inputs, kernel)
        else:
            outputs = self.linear(inputs, self._deterministic(kernel))
        if self.bias is not None:
            outputs = tf.nn.bias_add(outputs, tf.convert_to_tensor(self.bias))
        return self.activation(outputs)

    def _sample(self, inputs, kernel):
        log_sigma2 = tf.convert_to_tensor(self.log_sigma2)
        if self.kl_weight is not None and current_context().layers_add_kl:
            self.add_loss(self.kl_weight.variable * (self.kl_factor * kl.kl_divergence(kernel, log_sigma2)))
        return self._draw(inputs, kernel, log_sigma2)

    def _draw(self, inputs, kernel, log_sigma2):
        """Outputs drawn from their distribution under the posterior, without bias: local reparametrisation."""
        mean = self.linear(inputs, kernel)
        sigma2 = tf.exp(tf.clip_by_value(log_sigma2, *LOG_SIGMA2_RANGE))
        variance = self.linear(tf.square(inputs), sigma2)
        # Both factors are non-negative, but a convolution by transforms may leave a variance a little below zero.
        deviation = tf.sqrt(tf.nn.relu(variance) + VARIANCE_EPSILON)
        return mean + deviation * self._noise_like(mean)

    def _noise_like(self, tensor):
        """Standard normal noise, shaped like the tensor."""
        context = current_context()
        if context.noise is not None:
            return context.noise(tensor)
        return keras.random.normal(tf.shape(tensor), dtype=tensor.dtype, seed=self.seed_generator)

    def _deterministic(self, kernel):
        if self._phase == DENSE:
            return kernel
        if self._phase == FROZEN:
            return kernel * tf.convert_to_tensor(self.kept)
        return kernel * self.mask()

    def get_config(self):
        return {
            **super().get_config(),
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "threshold": self.threshold,
            "initial_log_sigma2": self.initial_log_sigma2,
            "prunable": self.prunable,
            "phase": self._phase,
            "seed": self.seed,
        }

    # The posterior.

    @property
    def log_alpha(self) -> tf.Tensor:
        """log alpha of every weight, shaped like the kernel."""
        self._must_be_prunable()
        return kl.log_alpha(tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.log_sigma2))

    def kl(self) -> tf.Tensor:
        """The KL of posterior and prior, summed over the weights (nats) and times `kl_factor`; 0 outside of the
        variational phase."""
        if self._phase != VARIATIONAL:
            return tf.zeros((), self.compute_dtype)
        total = kl.kl_divergence(tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.log_sigma2))
        return self.kl_factor * total

    def mask(self, threshold: float | None = None) -> tf.Tensor:
        """1 where a weight stays and 0 where it is pruned, shaped like the kernel.

        A frozen layer's mask is the one it was frozen with; otherwise weights with log alpha above the threshold (the
        layer's own by default) go. All ones where the layer is dense.
        """
        if self._phase == FROZEN:
            return tf.convert_to_tensor(self.kept)
        if self._phase == DENSE:
            return tf.ones_like(tf.convert_to_tensor(self.kernel))
        limit = self.threshold if threshold is None else threshold
        return tf.cast(self.log_alpha <= limit, self.kernel.dtype)

    def effective_kernel(self) -> tf.Tensor:
        """The kernel that inference uses: the means, exactly zero where pruned."""
        return self._deterministic(tf.convert_to_tensor(self.kernel))

    # The phases.

    @property
    def phase(self) -> str:
        """`dense`, `variational` or `frozen`."""
        return self._phase

    def set_phase(self, phase: str) -> None:
        """Enter a phase; functions that called the layer must be traced anew. Enter `frozen` by `freeze`."""
        if phase not in (DENSE, VARIATIONAL):
            raise ValueError(f"set_phase takes {DENSE} or {VARIATIONAL}, not {phase!r}; a layer is frozen by freeze()")
        if phase == VARIATIONAL:
            self._must_be_prunable()
        self._enter(phase)

    def freeze(self, threshold: float | None = None) -> None:
        """Prune by `threshold` (the layer's own by default) and fix the mask: pruned weights stay exactly zero.

        A layer in the dense phase is frozen with the weights that are not zero. Not prunable layers stay as they are.
        """
        if not self.prunable or self._phase == FROZEN:
            return
        if threshold is not None:
            self.threshold = float(threshold)
        dense = tf.cast(tf.not_equal(tf.convert_to_tensor(self.kernel), 0), self.kernel.dtype)
        self.kept.assign(dense if self._phase == DENSE else self.mask() * dense)
        self.kernel.assign(self.kernel * self.kept)
        self._enter(FROZEN)

    def freeze_with(self, mask) -> None:
        """Freeze with a given mask (ones and zeros, shaped like the kernel), say one inherited or inverted by hand."""
        self._must_be_prunable()
        self.kept.assign(mask)
        self.kernel.assign(self.kernel * self.kept)
        self._enter(FROZEN)

    def _enter(self, phase: str) -> None:
        self._phase = phase
        if not self.prunable:
            return
        # Optimisers skip what does not train (no decay of the variances), and apply a constraint after each step.
        self.log_sigma2.trainable = phase == VARIATIONAL
        self.kernel.constraint = _KeepMask(self.kept) if phase == FROZEN else None

    def _must_be_prunable(self) -> None:
        if not self.prunable:
            raise ValueError(f"layer {self.name} was made with prunable=False: it has no variances and no mask")
