"""Batch normalisation in one fused operation."""

from __future__ import annotations

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tfsparse")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Keras' BatchNormalization of channels last, which in training runs as TensorFlow's fused operation.

    Keras builds the training pass of some thirty small operations, several times slower on small maps. The only other
    difference: the moving variance follows the unbiased estimate (n / (n - 1) times the batch's), as tf.keras had it.
    Inputs are [batch, channels] or [batch, height, width, channels], float32.
    """

    def call(self, inputs, training=None, mask=None):
        shape = inputs.shape
        fused = training and self.trainable and mask is None and not self.renorm and not self.synchronized
        if not fused or self.axis not in (-1, len(shape) - 1) or len(shape) not in (2, 4):
            return super().call(inputs, training=training, mask=mask)
        channels = shape[-1]
        maps = inputs if len(shape) == 4 else tf.reshape(inputs, [-1, 1, 1, channels])
        none = tf.zeros([0], tf.float32)
        normalised = tf.raw_ops.FusedBatchNormV3(
            x=maps,
            scale=tf.convert_to_tensor(self.gamma) if self.scale else tf.ones([channels]),
            offset=tf.convert_to_tensor(self.beta) if self.center else tf.zeros([channels]),
            mean=none,
            variance=none,
            epsilon=self.epsilon,
            is_training=True,
        )
        rate = 1.0 - self.momentum
        for moving, batch in (
            (self.moving_mean, normalised.batch_mean),
            (self.moving_variance, normalised.batch_variance),
        ):
            old = tf.convert_to_tensor(moving)
            moving.assign(old + rate * (tf.stop_gradient(batch) - old))
        return normalised.y if len(shape) == 4 else tf.reshape(normalised.y, [-1, channels])
