"""Keras 3 layers (TensorFlow backend) that learn which of their weights are needed: Sparse Variational Dropout."""

from tfsparse.layers.base import DENSE, FROZEN, VARIATIONAL, VariationalLayer
from tfsparse.layers.context import KLWeight, TrainingContext, training_context
from tfsparse.layers.convolution import VariationalConv2D, VariationalDepthwiseConv2D
from tfsparse.layers.dense import VariationalDense
from tfsparse.layers.normalization import FusedBatchNormalization
from tfsparse.layers.whole_model import (
    freeze,
    kl_divergence,
    set_kl_weight,
    set_phase,
    sparsity,
    start_noise,
    variational_layers,
    weights_and_zeros,
)

__all__ = [
    "DENSE",
    "FROZEN",
    "VARIATIONAL",
    "FusedBatchNormalization",
    "KLWeight",
    "TrainingContext",
    "VariationalConv2D",
    "VariationalDense",
    "VariationalDepthwiseConv2D",
    "VariationalLayer",
    "freeze",
    "kl_divergence",
    "set_kl_weight",
    "set_phase",
    "sparsity",
    "start_noise",
    "training_context",
    "variational_layers",
    "weights_and_zeros",
]
