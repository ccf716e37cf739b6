"""Sparse Variational Dropout for convolutions, channels last."""

from __future__ import annotations

import keras
import tensorflow as tf

from tfsparse.layers.base import VariationalLayer


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


class _Windowed(VariationalLayer):
    """A layer that moves a window over maps: inputs [batch, height, width, channels]."""

    def __init__(self, kernel_size: int | tuple[int, int], strides: int | tuple[int, int], padding: str, **kwargs):
        super().__init__(**kwargs)
        self.kernel_size = _pair(kernel_size)
        self.strides = _pair(strides)
        self.padding = padding.lower()
        if self.padding not in ("valid", "same"):
            raise ValueError(f"padding is valid or same, not {padding!r}")
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def output_channels(self, input_channels: int) -> int:
        """The number of channels of the outputs."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        sides = [
            None if side is None else -(-side // stride) if self.padding == "same" else (side - kernel) // stride + 1
            for side, kernel, stride in zip((height, width), self.kernel_size, self.strides, strict=True)
        ]
        return batch, *sides, self.output_channels(channels)

    def get_config(self):
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
        }


@keras.saving.register_keras_serializable(package="tfsparse")
class VariationalConv2D(_Windowed):
    """A convolution: kernel [height, width, input channels, filters], outputs [batch, height', width', filters]."""

    def __init__(self, filters: int, kernel_size, strides=1, padding: str = "valid", **kwargs):
        super().__init__(kernel_size, strides, padding, **kwargs)
        self.filters = filters

    def kernel_shape(self, input_shape):
        return *self.kernel_size, input_shape[-1], self.filters

    def output_channels(self, input_channels):
        return self.filters

    def linear(self, inputs, kernel):
        return tf.nn.conv2d(inputs, kernel, self.strides, self.padding.upper())

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable(package="tfsparse")
class VariationalDepthwiseConv2D(_Windowed):
    """A depthwise convolution: kernel [height, width, channels, multiplier], outputs [batch, height', width',
    channels * multiplier].

    Strides are equal in both directions, as TensorFlow's kernels ask.
    """

    def __init__(self, kernel_size, strides=1, padding: str = "valid", depth_multiplier: int = 1, **kwargs):
        super().__init__(kernel_size, strides, padding, **kwargs)
        self.depth_multiplier = depth_multiplier
        if self.strides[0] != self.strides[1]:
            raise ValueError(f"strides of a depthwise convolution must be equal, not {self.strides}")

    def kernel_shape(self, input_shape):
        return *self.kernel_size, input_shape[-1], self.depth_multiplier

    def bias_size(self, kernel_shape):
        return kernel_shape[-2] * kernel_shape[-1]

    def output_channels(self, input_channels):
        return input_channels * self.depth_multiplier

    def linear(self, inputs, kernel):
        return tf.nn.depthwise_conv2d(inputs, kernel, [1, *self.strides, 1], self.padding.upper())

    def get_config(self):
        return {**super().get_config(), "depth_multiplier": self.depth_multiplier}
