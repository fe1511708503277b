"""Every option that is True or False: a word such as "no", 0, 1 or None is refused, not taken for one of them."""

import re

import numpy as np
import pytest
import torch

import saltzoo
from saltzoo import Preprocess, create_model, layers, losses
from saltzoo.contracts import FeatureSpec
from saltzoo.decoders import UnetDecoder
from saltzoo.encoders import TimmEncoder
from saltzoo.encoders.timm.vgg import VGG19Features
from saltzoo.heads import HypercolumnHead
from saltzoo.models import PSPUNetOptions, SaltnetOptions, UnetOptions
from saltzoo.models.resunet import ResUnetEncoder
from saltzoo.training import AveragePart, Recipe, cross_validate, fit

LOGITS, TARGET = torch.zeros(1, 1, 4, 4), torch.zeros(1, 4, 4)
SPEC = FeatureSpec((4, 8), (2, 4))
RECIPE = Recipe.from_dict({"model": {"name": "saltnet_s"}, "epochs": 1})

FLAGS = {
    "pretrained": [
        lambda flag: create_model("unet_plain", pretrained=flag),
        lambda flag: create_model("local-dir:nowhere", pretrained=flag),
        lambda flag: saltzoo.list_models(pretrained=flag),
        lambda flag: VGG19Features(pretrained=flag),
    ],
    "mask_only": [lambda flag: create_model("unet_plain", mask_only=flag)],
    "hypercolumn": [lambda flag: UnetOptions(hypercolumn=flag)],
    "deep_supervision": [lambda flag: SaltnetOptions(deep_supervision=flag)],
    "input_skip": [lambda flag: UnetOptions(input_skip=flag)],
    "guided_upsample": [lambda flag: PSPUNetOptions(guided_upsample=flag)],
    "auxiliary": [lambda flag: PSPUNetOptions(auxiliary=flag)],
    "has_scalar": [lambda flag: ResUnetEncoder((4, 8), in_chans=2, has_scalar=flag)],
    "scalar": [lambda flag: Preprocess(mean=(0.5, 0.5), std=(1.0, 1.0), scalar=flag)],
    "norm": [lambda flag: layers.SCSE(8, norm=flag)],
    "bias": [lambda flag: layers.PreActResidual(8, bias=flag), lambda flag: layers.PreActStage(1, 8, bias=flag)],
    "radius": [lambda flag: layers.CoordChannels(radius=flag)],
    "act": [lambda flag: layers.ConvNormAct(4, 4, act=flag)],
    "reads_image": [lambda flag: HypercolumnHead((4, 8), 1, reads_image=flag)],
    "with_center": [lambda flag: UnetDecoder(SPEC, (4,), with_center=flag)],
    "per_image": [
        *(
            lambda flag, name=name: getattr(losses, name)(LOGITS, TARGET, per_image=flag)
            for name in ("dice_loss", "jaccard_loss", "tversky_loss", "bce_dice_loss", "lovasz_hinge")
        ),
        *(
            lambda flag, name=name: getattr(losses, name)(per_image=flag)
            for name in (
                "DiceLoss",
                "GeneralizedDiceLoss",
                "JaccardLoss",
                "TverskyLoss",
                "BCEDiceLoss",
                "LovaszHingeLoss",
                "LovaszSoftmaxLoss",
            )
        ),
        lambda flag: losses.lovasz_softmax(torch.zeros(1, 2, 4, 4), TARGET.long(), per_image=flag),
    ],
    "log": [
        lambda flag: losses.dice_loss(LOGITS, TARGET, log=flag),
        lambda flag: losses.JaccardLoss(log=flag),
        lambda flag: losses.TverskyLoss(log=flag),
    ],
    "symmetric": [
        lambda flag: losses.lovasz_hinge(LOGITS, TARGET, symmetric=flag),
        lambda flag: losses.LovaszHingeLoss(symmetric=flag),
    ],
    "normalize": [
        lambda flag: losses.topology_loss(LOGITS, TARGET, torch.nn.Identity(), normalize=flag),
        lambda flag: losses.TopologyLoss(torch.nn.Identity(), normalize=flag),
    ],
    "skip_empty": [lambda flag: losses.DeepSupervisionLoss(losses.bce_loss, skip_empty=flag)],
    "frozen_batch_norm": [lambda flag: Recipe(model=RECIPE.model, epochs=1, frozen_batch_norm=flag)],
    "resume": [
        lambda flag: fit(RECIPE, saltzoo.data.synthetic_tiles(2), "nowhere", resume=flag),
        lambda flag: cross_validate(RECIPE, saltzoo.data.synthetic_tiles(2), "nowhere", resume=flag),
    ],
    "private": [lambda flag: saltzoo.push_to_hub(create_model("unet_plain", channels=(4, 6)), "a/b", private=flag)],
    "replace": [lambda flag: saltzoo.push_to_hub(create_model("unet_plain", channels=(4, 6)), "a/b", replace=flag)],
}


@pytest.mark.parametrize("flag", ["no", "", 1, 0, None, np.True_, torch.tensor(True)], ids=repr)
@pytest.mark.parametrize("name", FLAGS)
def test_only_true_and_false_are_flags(name, flag):
    for call in FLAGS[name]:
        with pytest.raises(TypeError, match=rf"\b{name}\b.* must be (True or False|bool\b)"):
            call(flag)


@pytest.mark.parametrize("flag", ["no", 1, 0])
def test_options_of_a_name_are_checked(flag):
    with pytest.raises(TypeError, match="option 'hypercolumn' of model 'saltnet_s' must be bool"):
        create_model("saltnet_s", hypercolumn=flag)


@pytest.mark.parametrize("flag", ["no", 1, 0])
def test_flags_that_may_be_none(flag):
    with pytest.raises(TypeError, match="projection must be True or False, got"):
        layers.DilatedBottleneck(4, 4, 4, projection=flag)
    with pytest.raises(TypeError, match="reestimate_batch_norm must be bool"):
        AveragePart(reestimate_batch_norm=flag)
    layers.DilatedBottleneck(4, 4, 4, projection=None)
    AveragePart(reestimate_batch_norm=None)


@pytest.mark.parametrize("given", [1, 0, None, 1.0, b"weights.pth", ["weights.pth"], {}, np.True_, ""], ids=repr)
@pytest.mark.parametrize("name", ["unet_resnet18", "unet_plain", "local-dir:nowhere"])
def test_encoder_weights_are_a_flag_a_path_or_a_name_on_the_hub(name, given):
    words = re.escape(f'must be True or False, the path of a file, or "hf-hub:ORG/NAME", got {given!r}')
    with pytest.raises(TypeError, match=f"pretrained_encoder {words}"):
        create_model(name, pretrained_encoder=given)


def test_encoder_weights_may_be_a_path_that_is_missing():
    for given in ("no", "/my/weights.pth"):
        with pytest.raises(FileNotFoundError, match=given):
            create_model("unet_resnet18", pretrained_encoder=given)


@pytest.mark.parametrize(
    ("given", "kind"), [(1, TypeError), (None, TypeError), ("no", ValueError), ("/my/w.pth", ValueError)]
)
def test_an_encoder_alone_takes_no_path(given, kind):
    with pytest.raises(kind, match=r"pretrained must be True or False, \"hf-hub:ORG/NAME\" or a state dict, got"):
        TimmEncoder("test_resnet", pretrained=given)
