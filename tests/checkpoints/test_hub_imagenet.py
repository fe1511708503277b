"""ImageNet weights of encoders, which timm fetches from the Hub."""

import re
from pathlib import Path

import pytest
import timm
import torch
from _tiny import TOKEN, same_weights
from safetensors.torch import save

import saltzoo

TIMM = "timm/test_resnet.r160_in1k"


def unet(**options):
    return saltzoo.create_model("unet", encoder="test_resnet", pretrained_encoder=True, **options)


@pytest.fixture
def theirs():
    torch.manual_seed(7)
    return timm.create_model("test_resnet").state_dict()


@pytest.fixture
def published(hub, theirs):
    hub.put(TIMM, {"model.safetensors": save(theirs), "config.json": b"{}"})
    return hub


def test_the_encoder_starts_with_them(published, theirs):
    ours = unet(in_chans=3).encoder.backbone.state_dict()
    assert f"GET /{TIMM}/resolve/main/model.safetensors" in published.asked()
    assert set(theirs) - set(ours) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    gray = unet().encoder.backbone.state_dict()
    torch.testing.assert_close(gray["conv1.0.weight"], theirs["conv1.0.weight"].sum(1, keepdim=True))


def test_a_checkpoint_needs_none_of_timms_files(published, tmp_path):
    model = unet(in_chans=3)
    saltzoo.push_to_hub(model, "org/tuned", token=TOKEN)
    del published.repos[TIMM]
    published.asked()
    tuned = saltzoo.create_model("hf-hub:org/tuned", cache_dir=str(tmp_path / "empty"))
    assert same_weights(tuned, model)
    assert tuned.preprocess == model.preprocess
    assert {re.match(r"\w+ /([^/]+/[^/]+)/", line)[1] for line in published.asked()} == {"org/tuned"}


@pytest.mark.parametrize("how", ["closed", "offline"])
def test_they_are_cached(published, theirs, how, monkeypatch):
    unet(in_chans=3)
    if how == "closed":
        published.close()
    else:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    ours = unet(in_chans=3).encoder.backbone.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickled_weights_are_read_as_tensors_only(hub, theirs, tmp_path):
    torch.save(theirs, tmp_path / "good")
    hub.put(TIMM, {"pytorch_model.bin": (tmp_path / "good").read_bytes(), "config.json": b"{}"})
    ours = unet(in_chans=3).encoder.backbone.state_dict()
    assert f"GET /{TIMM}/resolve/main/pytorch_model.bin" in hub.asked()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


def test_pickled_code_is_not_run(hub, theirs, tmp_path):
    sprung = tmp_path / "sprung"
    torch.save({**theirs, "fc.bias": Trap(sprung)}, tmp_path / "trap")
    hub.put(TIMM, {"pytorch_model.bin": (tmp_path / "trap").read_bytes(), "config.json": b"{}"})
    with pytest.raises(OSError, match="ImageNet weights of encoder 'test_resnet'"):
        unet(in_chans=3)
    assert f"GET /{TIMM}/resolve/main/pytorch_model.bin" in hub.asked()
    assert not sprung.exists()
    torch.load(tmp_path / "trap", weights_only=False)
    assert sprung.exists()  # the trap works
