"""change_num_classes: other classes, and every weight that does not give them as before."""

import logging

import pytest
import torch
from torch import nn

import saltzoo
from saltzoo import Segmenter, change_num_classes, create_model
from saltzoo.decoders import UnetDecoder
from saltzoo.encoders import PlainEncoder
from saltzoo.heads import SegmentationHead
from saltzoo.training import freeze

CASES = {
    "saltnet_s": {"channels": (8, 12, 16), "decoder_channels": (10, 8), "blocks": 1, "classifier": "fused"},
    "unet": {"encoder": "test_resnet", "attention": "scse", "hypercolumn": True, "deep_supervision": True},
    "resunet_101": {"base_channels": 4, "in_chans": 2, "scalar_channel": "bottleneck"},
    "frrn_a": {"base_channels": 4},
    "pspunet_small": {},
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("before", "after"), [(1, 3), (4, 2)])
def test_only_layers_that_give_the_classes_change(name, before, after):
    model = create_model(name, num_classes=before, **CASES[name]).eval()
    new = change_num_classes(model, after)
    fresh = create_model(name, num_classes=after, **CASES[name])
    old, own = model.state_dict(), new.state_dict()
    assert {key: value.shape for key, value in own.items()} == {k: v.shape for k, v in fresh.state_dict().items()}
    changed = {key for key in own if own[key].shape != old[key].shape}
    assert changed
    assert all(key.startswith(("head.", "deep_supervision.", "auxiliary.", "classifier.")) for key in changed)
    assert all(torch.equal(own[key], old[key]) for key in own.keys() - changed)
    assert new.config == fresh.config
    assert not new.training
    x = torch.randn(1, model.in_chans, 101, 101)
    with torch.no_grad():
        found, was = new(x), model(x)
        found, was = (one if torch.is_tensor(one) else one.logits for one in (found, was))
        assert found.shape == (1, after, 101, 101)
        assert was.shape[1] == before
        assert all(map(torch.equal, new.forward_features(x), model.forward_features(x)))
    pairs = zip(model.parameters(), new.parameters(), strict=True)
    assert all(one.data_ptr() != other.data_ptr() for one, other in pairs)  # a copy, which trains alone


def test_settings_follow(caplog, tmp_path):
    model = create_model("unet_plain", channels=(6, 8), deep_supervision=True).mask_only().bfloat16()
    model.preprocess = saltzoo.Preprocess((0.1,), (0.2,))
    model.threshold, model.min_size, model.tile_size = 0.3, 7, (64, 96)
    model.set_grad_checkpointing()
    freeze(model)
    model.encoder.eval()
    with caplog.at_level(logging.INFO, logger="saltzoo"):
        new = change_num_classes(model, 5)
    assert "these layers start untrained: head." in caplog.text
    assert new.returns_mask
    assert new.config.mask_only
    assert {one.dtype for one in new.parameters()} == {torch.bfloat16}
    assert (new.preprocess, new.min_size, new.tile_size) == (model.preprocess, 0, (64, 96))
    assert (new.threshold, new.grad_checkpointing) == (0.5, True)
    assert (new.training, new.encoder.training) == (True, False)
    learning = [name for name, one in new.named_parameters() if one.requires_grad]
    assert learning
    assert all(name.startswith("head.") for name in learning)
    saltzoo.save_pretrained(new.float(), tmp_path)
    again = create_model(f"local-dir:{tmp_path}")
    assert all(map(torch.equal, again.parameters(), new.parameters()))


def test_double_precision_is_kept():
    model = create_model("unet_plain", channels=(6, 8)).double()
    with torch.no_grad():
        for one in model.parameters():
            one += 1e-12
    new = change_num_classes(model, 3)
    pairs = zip(model.encoder.parameters(), new.encoder.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_refusals():
    model = create_model("unet_plain", channels=(6, 8))
    with pytest.raises(ValueError, match="num_classes"):
        change_num_classes(model, 0)
    with pytest.raises(TypeError, match="must be a Segmenter, got Linear"):
        change_num_classes(nn.Linear(1, 1), 2)
    encoder = PlainEncoder((6, 8))
    decoder = UnetDecoder(encoder.spec, (6,))
    byhand = Segmenter(encoder, decoder, SegmentationHead(decoder.channels[-1], 1))
    with pytest.raises(ValueError, match="made by create_model, got one wired by hand"):
        change_num_classes(byhand, 2)
    more = create_model("unet_plain", channels=(6, 8))
    more.decoder.extra = nn.ReLU()
    with pytest.raises(ValueError, match=r"modules that .*changed after create_model"):
        change_num_classes(more, 2)
    model.head = SegmentationHead(8, 1)
    with pytest.raises(ValueError, match="changed after create_model"):
        change_num_classes(model, 2)
