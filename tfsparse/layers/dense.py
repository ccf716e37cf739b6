"""Sparse Variational Dropout for fully connected layers."""

from __future__ import annotations

import keras
import tensorflow as tf

from tfsparse.layers.base import VariationalLayer


@keras.saving.register_keras_serializable(package="tfsparse")
class VariationalDense(VariationalLayer):
    """`units` outputs of a vector: inputs [batch, features], kernel [features, units], outputs [batch, units]."""

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.input_spec = keras.layers.InputSpec(ndim=2)

    def kernel_shape(self, input_shape):
        return input_shape[-1], self.units

    def linear(self, inputs, kernel):
        return tf.matmul(inputs, kernel)

    def compute_output_shape(self, input_shape):
        return input_shape[0], self.units

    def get_config(self):
        return {**super().get_config(), "units": self.units}
