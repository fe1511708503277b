"""create_model: names, options and their refusals. Sources of weights are tested in tests/checkpoints."""

import inspect
import json

import pytest
import torch
from torch import nn

import saltzoo
from saltzoo import ModelSpec, Preprocess, layers
from saltzoo.heads import HypercolumnHead
from saltzoo.models.unet import UnetOptions
from saltzoo.zoo import registry

pytestmark = pytest.mark.usefixtures("own_registry")


LARGE = ("dpn92", "inception", "lite2", "resnet50", "senet154", "seresnext50", "xception")


def is_large(name):
    return any(encoder in name for encoder in LARGE)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if is_large(name) else name for name in saltzoo.list_models()],
)
def test_every_name_builds_and_describes_itself(name):
    with torch.device("meta"):  # nothing is computed here
        model = saltzoo.create_model(name)
    cost = saltzoo.cost(model)
    assert cost.parameters > 1e6
    assert 1e8 < cost.flops < 1e11
    assert model.training
    assert model.in_chans == 1
    assert model.config.architecture == name
    args = model.config.model_args
    assert json.loads(json.dumps(args)) == args
    assert not {"pretrained_encoder", "cache_dir"} & set(args)
    builder = registry.find_model(name).load_builder()
    assert set(args) == set(inspect.signature(builder).parameters) - {"pretrained_encoder", "cache_dir"}
    assert {"in_chans", "num_classes"} <= set(args)
    assert saltzoo.is_model(name)
    kinds = {type(module) for module in model.modules()}
    words = set(name.split("_"))
    # resunet, frrn and plain have no attention; the saltnets have it without naming it.
    if "saltnet" not in words:
        assert ("scse" in words, "bam" in words) == (layers.SCSE in kinds, layers.BAM in kinds)
        assert ("hc" in words) == (HypercolumnHead in kinds)
    assert ("ds" in words) == (model.deep_supervision is not None)
    assert ("cls" in words) == (model.classifier is not None)
    assert model.returns_mask == (not words & {"ds", "cls", "pspunet"})
    assert ("gum" in words) == (layers.GuidedUpsample in kinds)


def test_options_reach_the_network():
    model = saltzoo.create_model(
        "unet_resnet18", in_chans=3, num_classes=4, attention="scse", attention_sites=("concat",), attention_reduction=8
    )
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 4, 64, 64)
    assert model.preprocess == Preprocess.gray(3)
    assert model.decoder.blocks[0].concat_attention.squeeze.out_features == (512 + 256) // 8
    assert len(model.encoder.attentions) == 0
    args = model.config.model_args
    assert (args["in_chans"], args["num_classes"], args["attention_sites"]) == (3, 4, ["concat"])
    again = saltzoo.create_model("unet_resnet18", **args)
    assert again.state_dict().keys() == model.state_dict().keys()
    assert again.config == model.config


def test_a_user_overrides_what_the_name_says():
    assert saltzoo.create_model("unet_resnet34", encoder="resnet18").config.model_args["encoder"] == "resnet18"


def test_none_means_the_default():
    args = saltzoo.create_model("unet_resnet18", in_chans=None, attention=None).config.model_args
    assert (args["in_chans"], args["attention"]) == (1, "none")


def test_the_seed_decides_the_weights():
    def weights(seed):
        torch.manual_seed(seed)
        return saltzoo.create_model("unet", encoder="test_resnet", attention="scse").state_dict()

    first, same, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(value, same[key]) for key, value in first.items())
    assert not all(torch.equal(value, other[key]) for key, value in first.items())


def test_builds_a_model_of_a_user():
    @saltzoo.register_model
    def my_net(*, in_chans=1, num_classes=1, width=(4, 8)):
        return nn.Conv2d(in_chans, num_classes, 3, padding=1)

    model = saltzoo.create_model("my_net", num_classes=2)
    assert model.weight.shape == (2, 1, 3, 3)
    assert model.config.model_args == {"in_chans": 1, "num_classes": 2, "width": [4, 8]}
    with pytest.raises(ValueError, match="'my_net' has no pretrained encoder: drop"):
        saltzoo.create_model("my_net", pretrained_encoder=True)


def test_a_spec_with_its_builder_by_place():
    saltzoo.register_model(
        ModelSpec("wide", "saltzoo.models.unet:UnetOptions", {"encoder": "test_resnet", "num_classes": 7})
    )
    assert saltzoo.create_model("wide").head.conv.out_channels == 7
    assert ModelSpec("w", "saltzoo.models.unet:UnetOptions").load_builder() is UnetOptions


@pytest.mark.parametrize(
    ("name", "options", "kind", "words"),
    [
        ("unet_resnet43", {}, ValueError, "unknown model 'unet_resnet43'. Did you mean"),
        ("resnet34", {}, ValueError, 'create_model("unet", encoder='),
        ("", {}, ValueError, "unknown model ''"),
        ("unet.tgs", {}, ValueError, "'unet.tgs' names weights: add pretrained=True"),
        ("nothing.tgs", {}, ValueError, "unknown model 'nothing'"),
        ("unet", {"pretrained": True}, ValueError, "no weights of 'unet' are published"),
        ("unet", {"attentoin": "scse"}, TypeError, "model 'unet' has no option 'attentoin'. Did you mean 'attention'"),
        ("unet", {"zzz": 1}, TypeError, "It has in_chans, num_classes, hypercolumn"),
        ("unet", {"in_chans": 0}, ValueError, "in_chans must be at least 1, got 0"),
        ("unet", {"num_classes": -1}, ValueError, "num_classes must be at least 1, got -1"),
        (
            "unet",
            {"num_classes": 1.0},
            TypeError,
            "option 'num_classes' of model 'unet' must be int (at least 1), got 1.0",
        ),
        ("unet", {"in_chans": "1"}, TypeError, "option 'in_chans' of model 'unet' must be int (at least 1), got '1'"),
        ("unet", {"encoder": "resnet43"}, ValueError, "timm"),
        (
            "unet",
            {"center": "aspp"},
            ValueError,
            "'center' of model 'unet' must be one of 'none', 'conv'",
        ),
        ("frrn_a", {"variant": 1}, ValueError, "'variant' of model 'frrn_a' must be one of 'a', 'b', got 1"),
    ],
)
def test_refuses_with_the_next_step(name, options, kind, words):
    with pytest.raises(kind) as error:
        saltzoo.create_model(name, **options)
    assert words in str(error.value)


def test_options_are_keywords():
    with pytest.raises(TypeError):
        saltzoo.create_model("unet", True)


def modes(model):
    return {module.training for module in model.modules()}


def test_weights_of_the_whole_model_bring_evaluation_mode(tmp_path):
    fresh = saltzoo.create_model("unet_plain", channels=(4, 6), deep_supervision=True, classifier="beside")
    assert modes(fresh) == {True}
    assert modes(saltzoo.create_model("unet_plain", channels=(4, 6), mask_only=True)) == {True}
    place = f"local-dir:{saltzoo.save_pretrained(fresh, tmp_path)}"
    assert modes(saltzoo.create_model(place)) == {False}
    assert modes(saltzoo.create_model(place, mask_only=True)) == {False}
    assert modes(saltzoo.create_model(place, in_chans=3, num_classes=2)) == {False}
    assert modes(saltzoo.create_model(place).train()) == {True}


def test_a_model_with_weights_called_straight_away_agrees_with_predict():
    model = saltzoo.create_model("saltnet_s.tgs", pretrained=True)
    assert modes(model) == {False}
    tiles = saltzoo.data.synthetic_tiles(2).images
    state = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        logits = model(model.preprocess(torch.from_numpy(tiles)[:, None] / 255))
    torch.testing.assert_close(logits[:, 0].sigmoid(), torch.from_numpy(saltzoo.predict(model, tiles)))
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_a_model_of_a_user_with_weights_is_in_evaluation_mode(tmp_path):
    @saltzoo.register_model
    def dropping_net(*, in_chans=1, num_classes=1):
        net = nn.Sequential(nn.Conv2d(in_chans, num_classes, 1), nn.Dropout())
        net.preprocess = Preprocess.gray(in_chans)
        return net

    model = saltzoo.create_model("dropping_net")
    assert modes(model) == {True}
    assert modes(saltzoo.create_model(f"local-dir:{saltzoo.save_pretrained(model, tmp_path)}")) == {False}


def test_none_is_compared_with_what_was_saved_where_it_is_a_value():
    with pytest.raises(ValueError, match="with hypercolumn_channels=16, not None"):
        saltzoo.create_model("saltnet_s.tgs", pretrained=True, hypercolumn_channels=None)
    model = saltzoo.create_model("saltnet_s.tgs", pretrained=True, in_chans=None)
    assert model.in_chans == 1
