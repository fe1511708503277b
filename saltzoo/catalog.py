"""The tables: every named model, and every set of published weights. Data only."""

from __future__ import annotations

from .spec import ModelSpec, WeightsSpec

_UNET = "saltzoo.models.unet:unet"
_UNET_PAPER = "arXiv 1505.04597"
_SCSE_PAPER = "arXiv 1505.04597, 1808.08127"

MODELS: tuple[ModelSpec, ...] = (
    ModelSpec("unet", _UNET, {}, _UNET_PAPER),
    ModelSpec("unet_resnet18", _UNET, {"encoder": "resnet18"}, _UNET_PAPER),
    ModelSpec("unet_resnet34", _UNET, {"encoder": "resnet34"}, _UNET_PAPER),
    ModelSpec("unet_resnet34_scse", _UNET, {"encoder": "resnet34", "attention": "scse"}, _SCSE_PAPER),
    ModelSpec("unet_resnet50_scse", _UNET, {"encoder": "resnet50", "attention": "scse"}, _SCSE_PAPER),
)

WEIGHTS: tuple[WeightsSpec, ...] = ()
