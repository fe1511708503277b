"""Tables of all named models and all published weights. Data only."""

from __future__ import annotations

from typing import Any

from .spec import ModelSpec, WeightsSpec

SOURCES = {
    "S0": "21st place of the TGS Salt challenge: ResNet34 U-Net with BAM, deep supervision, hypercolumn, classifier",
    "S1": "U-Nets with scSE and hypercolumns on several encoders, and an FRRN; .860 on the public leaderboard",
    "S2": "15th place: a U-shaped net of 2 million parameters, pyramid pooling and guided upsampling; .887 private",
    "S3": "a Kaggle kernel: Xception with a residual decoder; .87 private",
    "S4": "a residual U-Net with pre-activation on native 101 x 101 tiles; .824 private",
}
"""Key of `ModelSpec.source` -> a public solution of the TGS Salt Identification Challenge."""

_PAPERS = {
    "unet": "arXiv 1505.04597",
    "scse": "arXiv 1808.08127",
    "bam": "arXiv 1807.06514",
    "hypercolumn": "arXiv 1411.5752",
    "deep_supervision": "arXiv 1409.5185",
}


def _unet(name: str, *, source: str = "", **options: Any) -> ModelSpec:
    used = ["unet", *(str(value) if key == "attention" else key for key, value in options.items() if value)]
    papers = dict.fromkeys(_PAPERS[word] for word in used if word in _PAPERS)
    return ModelSpec(name, "saltzoo.models.unet:UnetOptions", options, ", ".join(papers), source)


def _row(name: str, builder: str, paper: str, source: str = "", **options: Any) -> ModelSpec:
    return ModelSpec(name, f"saltzoo.models.{builder}", options, paper, source)


_PSPUNET = "pspunet:PSPUNetOptions"
_PSPUNET_PAPERS = "arXiv 1612.01105, 1808.08127"

MODELS: tuple[ModelSpec, ...] = (
    _unet("unet"),
    *(
        _unet(
            f"unet_resnet34{attention and '_'}{attention}{'_hc' if hypercolumn else ''}{'_ds' if deep else ''}",
            encoder="resnet34",
            attention=attention or "none",
            hypercolumn=hypercolumn,
            deep_supervision=deep,
            source={("scse", True, False): "S1"}.get((attention, hypercolumn, deep), ""),
        )
        for attention in ("", "scse", "bam")
        for hypercolumn in (False, True)
        for deep in (False, True)
    ),
    _unet(
        "unet_resnet34_bam_hc_ds_cls",
        encoder="resnet34",
        attention="bam",
        hypercolumn=True,
        deep_supervision=True,
        deep_supervision_channels=64,
        classifier="fused",
        decoder_block="half",
        source="S0",
    ),
    *(
        _unet(f"unet_{name}{suffix}", encoder=encoder, attention=attention, source=source)
        for name, encoder, source in (
            ("resnet18", "resnet18", ""),
            ("resnet50", "resnet50", ""),
            ("seresnext50_32x4d", "seresnext50_32x4d", "S1"),
            ("inception_v4", "inception_v4", "S1"),
            ("xception", "legacy_xception", ""),
            ("senet154", "legacy_senet154", ""),
            ("dpn92", "dpn92", ""),
            ("efficientnet_b0", "efficientnet_b0", ""),
            ("convnext_tiny", "convnext_tiny", ""),
            ("mobilenetv4_conv_small", "mobilenetv4_conv_small", ""),
        )
        for suffix, attention in (("", "none"), ("_scse", "scse"))
    ),
    *(
        _unet(
            f"unet_efficientnet_{size}_scse_hc",
            encoder=f"tf_efficientnet_{size}",
            attention="scse",
            attention_sites=("decoder",),
            hypercolumn=True,
            decoder_channels=(96, 64, 48, 32, 16),
        )
        for size in ("lite0", "lite2")
    ),
    _unet(
        "unet_xception_res",
        encoder="legacy_xception",
        decoder_block="residual",
        drop_rate=0.1,
        source="S3",
    ),
    _row("unet_plain", "unet:PlainUnetOptions", _PAPERS["unet"]),
    _row("pspunet_small", _PSPUNET, "arXiv 1612.01105", "S2"),
    _row("pspunet_small_scse", _PSPUNET, _PSPUNET_PAPERS, "S2", attention="scse"),
    _row(
        "pspunet_small_scse_gum",
        _PSPUNET,
        f"{_PSPUNET_PAPERS}, 1807.07466",
        "S2",
        attention="scse",
        guided_upsample=True,
    ),
    _row("resunet_101", "resunet:ResUnetOptions", "arXiv 1711.10684, 1603.05027", "S4"),
    _row("frrn_a", "frrn:FRRNOptions", "arXiv 1611.08323", variant="a"),
    _row("frrn_b", "frrn:FRRNOptions", "arXiv 1611.08323", "S1", variant="b"),
    _row("saltnet_s", "saltnet:SaltnetOptions", ""),
    _row(
        "saltnet_m",
        "saltnet:SaltnetOptions",
        "",
        channels=(48, 96, 192, 256),
        decoder_channels=(96, 64, 48),
    ),
)

WEIGHTS: tuple[WeightsSpec, ...] = (
    WeightsSpec("saltnet_m", "tgs"),
    WeightsSpec("saltnet_s", "tgs3"),
    WeightsSpec("saltnet_s", "wide2"),
    WeightsSpec("saltnet_s", "sections"),
    WeightsSpec("saltnet_s", "wide"),
    WeightsSpec("saltnet_s", "tgs2"),
    WeightsSpec("saltnet_s", "tgs"),
    WeightsSpec("saltnet_s", "synthetic"),
    WeightsSpec("unet_efficientnet_lite0_scse_hc", "tgs"),
    WeightsSpec("unet_efficientnet_lite0_scse_hc", "tgs_folds"),
    WeightsSpec("unet_resnet34_scse", "tgs2"),
)
