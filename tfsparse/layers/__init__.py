"""Keras 3 layers (TensorFlow backend) that learn what is not needed.

Single weights go by Sparse Variational Dropout, whole channels and units by Bayesian Compression.
"""

from tfsparse.layers.base import DENSE, FROZEN, VARIATIONAL, VariationalLayer
from tfsparse.layers.context import KLWeight, TrainingContext, training_context
from tfsparse.layers.convolution import VariationalConv2D, VariationalDepthwiseConv2D
from tfsparse.layers.dense import VariationalDense
from tfsparse.layers.normalization import FusedBatchNormalization
from tfsparse.layers.scale import GroupScale
from tfsparse.layers.whole_model import (
    freeze,
    group_scales,
    kl_divergence,
    set_kl_weight,
    set_phase,
    sparsity,
    start_noise,
    variational_layers,
    weight_layers,
    weights_and_zeros,
)

__all__ = [
    "DENSE",
    "FROZEN",
    "VARIATIONAL",
    "FusedBatchNormalization",
    "GroupScale",
    "KLWeight",
    "TrainingContext",
    "VariationalConv2D",
    "VariationalDense",
    "VariationalDepthwiseConv2D",
    "VariationalLayer",
    "freeze",
    "group_scales",
    "kl_divergence",
    "set_kl_weight",
    "set_phase",
    "sparsity",
    "start_noise",
    "training_context",
    "variational_layers",
    "weight_layers",
    "weights_and_zeros",
]
