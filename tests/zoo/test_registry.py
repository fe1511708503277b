"""Names of models and of weights: looked up, listed and registered."""

import dataclasses
import re

import pytest

import saltzoo
from saltzoo import ModelSpec, WeightsSpec
from saltzoo.zoo import registry
from saltzoo.zoo.catalog import MODELS, WEIGHTS

pytestmark = pytest.mark.usefixtures("own_registry")


def builder(*, in_chans=1, num_classes=1):
    raise AssertionError("nothing is built here")


def test_the_catalog_is_listed():
    names = [spec.name for spec in MODELS]
    assert len(set(names)) == len(names)
    assert saltzoo.list_models() == sorted(names)
    assert {"unet", "unet_resnet34", "unet_resnet34_scse", "unet_plain", "saltnet_s", "frrn_a"} <= set(names)
    assert saltzoo.list_models(pretrained=True) == sorted(spec.name for spec in WEIGHTS)
    for spec in MODELS:
        assert saltzoo.is_model(spec.name)
        assert callable(spec.load_builder())
        assert spec.paper or spec.name.startswith("saltnet")  # a network of this project
    for weights in WEIGHTS:
        assert saltzoo.is_model(weights.model)
        assert weights.repo_id == f"saltzoo/{weights.name}"
        assert weights.revision == "main" or re.fullmatch("[0-9a-f]{40}", weights.revision)


def test_lists_names_by_pattern():
    assert saltzoo.list_models("*resnet34_scse*") == [
        "unet_resnet34_scse",
        "unet_resnet34_scse_ds",
        "unet_resnet34_scse_hc",
        "unet_resnet34_scse_hc_ds",
    ]
    assert saltzoo.list_models("saltnet_?") == ["saltnet_m", "saltnet_s"]
    assert saltzoo.list_models("no*") == []


def test_registers_a_builder_a_spec_and_a_place():
    assert saltzoo.register_model(builder) is builder
    spec = ModelSpec("my_net", builder, {"num_classes": 2})
    assert saltzoo.register_model(spec) is spec
    saltzoo.register_model(ModelSpec("by_place", "json:dumps"))
    assert {"builder", "my_net", "by_place"} <= set(saltzoo.list_models())
    assert registry.find_model("my_net").load_builder() is builder
    import json

    assert registry.find_model("by_place").load_builder() is json.dumps


def test_refuses_a_taken_or_impossible_name():
    with pytest.raises(ValueError, match="a model named 'unet' is already registered"):
        saltzoo.register_model(ModelSpec("unet", builder))
    for name in ("a.b", "", "a-b", "a/b", "1a", "hf-hub:a"):
        with pytest.raises(ValueError, match="letters, digits and underscores"):
            ModelSpec(name, builder)


def test_a_spec_cannot_be_changed():
    options = {"encoder": "resnet18"}
    spec = ModelSpec("mine", builder, options)
    options["encoder"] = "resnet50"
    assert spec.options["encoder"] == "resnet18"
    with pytest.raises(TypeError):
        spec.options["encoder"] = "resnet50"
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "other"


def test_an_unknown_model_names_close_models_and_how_to_compose_one():
    with pytest.raises(ValueError, match="unknown model 'unet_resnet34_sces'") as error:
        registry.find_model("unet_resnet34_sces")
    assert "Did you mean 'unet_resnet34_scse'" in str(error.value)
    assert 'create_model("unet", encoder=' in str(error.value)
    with pytest.raises(ValueError, match="unknown model 'xyzzy'") as error:
        registry.find_model("xyzzy")
    assert "Did you mean" not in str(error.value)
    assert not saltzoo.is_model("xyzzy")


def test_weights_are_found_by_model_and_tag():
    first = saltzoo.register_weights(WeightsSpec("unet_resnet18", "tgs", "org/a", "0" * 40))
    second = saltzoo.register_weights(WeightsSpec("unet_resnet18", "tgs_v2.5", "org/b", "v2.5"))
    assert first.name == "unet_resnet18.tgs"
    assert (first.repo_id, first.revision) == ("org/a", "0" * 40)
    by_convention = WeightsSpec("saltnet_s", "tgs")
    assert (by_convention.repo_id, by_convention.revision) == ("saltzoo/saltnet_s.tgs", "main")
    assert saltzoo.list_models("unet_resnet18*", pretrained=True) == ["unet_resnet18.tgs", "unet_resnet18.tgs_v2.5"]
    assert registry.find_weights("unet_resnet18") is first
    assert registry.find_weights("unet_resnet18", "tgs") is first
    assert registry.find_weights("unet_resnet18", "tgs_v2.5") is second
    assert "unet_resnet18.tgs" not in saltzoo.list_models()
    with pytest.raises(ValueError, match=r"no weights 'unet_resnet18.tsg' are published; .*\['tgs', 'tgs_v2.5'\]"):
        registry.find_weights("unet_resnet18", "tsg")
    with pytest.raises(ValueError, match=r"weights named 'unet_resnet18.tgs' are already registered"):
        saltzoo.register_weights(WeightsSpec("unet_resnet18", "tgs", "org/c", "main"))


def test_unknown_weights():
    with pytest.raises(ValueError, match=r"no weights of 'unet_resnet50_scse' are published.*local-dir:PATH"):
        registry.find_weights("unet_resnet50_scse")
    with pytest.raises(ValueError, match="unknown model 'nothing'"):
        registry.find_weights("nothing", "tgs")
    with pytest.raises(ValueError, match="unknown model 'nothing'"):
        saltzoo.register_weights(WeightsSpec("nothing", "tgs", "org/a", "main"))
