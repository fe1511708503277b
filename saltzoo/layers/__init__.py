"""Layers and blocks that networks are built from, each usable on its own."""

from .attention import ATTENTIONS, BLOCK_SITES, build_attention
from .bam import BAM
from .basic_block import BasicBlock
from .cbam import CBAM
from .channels import CoordChannels, ScalarChannel, append_scalar
from .conv import ConvNormAct
from .dilated_bottleneck import DilatedBottleneck, bottleneck_stage
from .full_resolution import FRRU, FRRUStage, ResidualUnit
from .guided_upsample import GuidedUpsample, sample_at_offsets
from .norm import PooledBatchNorm
from .preact_residual import PreActResidual, PreActStage
from .pyramid_pooling import PyramidPooling
from .residual_unet_block import ResidualUnetBlock
from .scse import SCSE
from .se import ChannelSE, SpatialSE
from .unet_block import HalfUnetBlock, UnetBlock
from .upsample import Upsample
from .upsampled_conv import conv_of_upsampled

__all__ = [
    "ATTENTIONS",
    "BAM",
    "BLOCK_SITES",
    "CBAM",
    "FRRU",
    "SCSE",
    "BasicBlock",
    "ChannelSE",
    "ConvNormAct",
    "CoordChannels",
    "DilatedBottleneck",
    "FRRUStage",
    "GuidedUpsample",
    "HalfUnetBlock",
    "PooledBatchNorm",
    "PreActResidual",
    "PreActStage",
    "PyramidPooling",
    "ResidualUnetBlock",
    "ResidualUnit",
    "ScalarChannel",
    "SpatialSE",
    "UnetBlock",
    "Upsample",
    "append_scalar",
    "bottleneck_stage",
    "build_attention",
    "conv_of_upsampled",
    "sample_at_offsets",
]
