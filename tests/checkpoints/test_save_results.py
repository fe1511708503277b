"""save_pretrained: a model whose results no checkpoint can give again is refused, one that is observed is saved."""

import os

import pytest
import torch
from _tiny import same_weights, tiny
from torch import nn

import saltzoo
from saltzoo import Preprocess, create_model, save_pretrained


def forward_is_replaced(model):
    old = model.head.forward
    model.head.forward = lambda *args: 2 * old(*args)


def forward_of_the_model_is_replaced(model):
    old = model.forward
    model.forward = lambda x: old(x.flip(-1))


def hook_changes_the_result(model):
    model.decoder.register_forward_hook(lambda module, args, output: [item.clamp(max=0.1) for item in output])


def hook_changes_the_input(model):
    model.register_forward_pre_hook(lambda module, args: (args[0] + 1,))


def hook_changes_large_values_only(model):
    model.register_forward_hook(lambda module, args, output: output.clamp(-3, 3))


def attribute_is_other(model):
    model.decoder.blocks[0].upsample.mode = "bilinear"


PATCHES = {
    forward_is_replaced: r"head \(\w+\) has a forward of its own",
    forward_of_the_model_is_replaced: r"the model \(Segmenter\) has a forward of its own",
    hook_changes_the_result: r"decoder \(\w+\) has forward hooks",
    hook_changes_the_input: r"the model \(Segmenter\) has forward hooks",
    hook_changes_large_values_only: r"the model \(Segmenter\) has forward hooks",
    attribute_is_other: "an attribute, or a tensor that is not in the state dict, has another value",
}


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.__name__)
def test_what_a_checkpoint_cannot_hold_is_refused(tmp_path, patch):
    model = tiny()
    patch(model)
    with pytest.raises(ValueError, match=rf"this Segmenter cannot be saved.*other results: {PATCHES[patch]}.*undo the"):
        save_pretrained(torch.compile(model), tmp_path / "x")
    assert os.listdir(tmp_path) == []


def test_what_only_observes_may_stay(tmp_path):
    model, seen = tiny(deep_supervision=True), []
    plain = model.head.forward
    model.head.forward = lambda *args: plain(*args)
    model.encoder.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    model.encoder.register_forward_pre_hook(lambda module, args: None)
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert same_weights(create_model(f"local-dir:{save_pretrained(model, tmp_path / 'x')}"), model)
    assert seen
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(part.training for part in model.modules())


class Shifted(nn.Module):
    """A model that computes with tensors that its state dict does not hold."""

    def __init__(self, in_chans, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(in_chans, num_classes, 1)
        self.register_buffer("shift", torch.ones(1), persistent=False)
        self.scale = torch.ones(1)
        self.hidden = [nn.Conv2d(num_classes, num_classes, 1)]
        nn.init.ones_(self.hidden[0].weight)
        self.preprocess = Preprocess.gray(in_chans)

    def forward(self, x):
        return self.hidden[0](self.conv(x) * self.scale + self.shift)


def shifted(*, in_chans=1, num_classes=1):
    model = Shifted(in_chans, num_classes)
    nn.init.zeros_(model.hidden[0].bias)
    return model


def scale(model):
    model.scale = torch.full((1,), 3.0)


def shift(model):
    model.shift.add_(0.5)


def train_what_is_not_registered(model):
    nn.init.ones_(model.hidden[0].bias)


@pytest.mark.parametrize("change", [scale, shift, train_what_is_not_registered])
def test_tensors_outside_the_state_dict_are_compared_too(tmp_path, own_registry, change):
    saltzoo.register_model(shifted)
    model = create_model("shifted")
    assert same_weights(create_model(f"local-dir:{save_pretrained(model, tmp_path / 'a')}"), model)
    change(model)
    with pytest.raises(ValueError, match="a tensor that is not in the state dict, has another value"):
        save_pretrained(model, tmp_path / "b")
    assert os.listdir(tmp_path) == ["a"]


class Refusing(Shifted):
    """A model that takes no images of any size that a trial may have."""

    def forward(self, x):
        raise ValueError("not now")


def refusing(*, in_chans=1, num_classes=1):
    return Refusing(in_chans, num_classes)


def test_without_a_trial_only_models_without_hooks_are_saved(tmp_path, own_registry):
    saltzoo.register_model(refusing)
    model = create_model("refusing")
    save_pretrained(model, tmp_path / "a")
    model.conv.register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match=r"conv \(Conv2d\) has forward hooks"):
        save_pretrained(model, tmp_path / "b")
