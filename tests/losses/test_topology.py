"""The topology-aware loss: against a plain VGG19, its cost, and the error without weights."""

import copy
import re
import subprocess
import sys
from functools import partial

import pytest
import timm
import torch
from _loss_cases import edges
from torch import nn

from saltzoo.encoders.timm.vgg import VGG19Features
from saltzoo.losses import TopologyLoss, topology_loss

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def vgg():
    torch.manual_seed(0)
    return VGG19Features(pretrained=False)


def batch(size=32, count=3):
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(count, 1, size, size, generator=rng)
    target = torch.zeros(count, size, size)
    target[1:, 5:20, 8:] = 1
    return logits, target


@pytest.mark.parametrize("normalize", [True, False])
def test_equals_a_plain_vgg19(vgg, normalize):
    """timm's layers with the same weights, called one by one."""
    with torch.device("meta"):  # its classifier is large
        network = timm.create_model("vgg19", pretrained=False)
    layers = network.features[:17].to_empty(device="cpu").eval()
    layers.load_state_dict(vgg.layers.state_dict())
    logits, target = batch()

    def maps(gray):
        x = gray[:, None].repeat(1, 3, 1, 1)
        if normalize:
            x = (x - MEAN[:, None, None]) / STD[:, None, None]
        kept = []
        for index, layer in enumerate(layers):
            x = layer(x.clone())
            if index in (2, 7, 16):
                kept.append(x.clone())
        return kept

    with torch.no_grad():
        pairs = list(zip(maps(logits[:, 0].sigmoid()), maps(target), strict=True))
        want = torch.stack([torch.stack([((a - b)[n] ** 2).mean() for a, b in pairs]).sum() for n in range(3)])
    loss = TopologyLoss(vgg, normalize=normalize, reduction="none")
    torch.testing.assert_close(loss(logits, target), want)
    torch.testing.assert_close(TopologyLoss(vgg, normalize=normalize)(logits, target), want.mean())


def test_maps_are_those_before_the_relu(vgg):
    x = torch.randn(2, 3, 16, 16)
    kept = [m.clone() for m in vgg(x)]
    assert [tuple(m.shape) for m in kept] == [(2, 64, 16, 16), (2, 128, 8, 8), (2, 256, 4, 4)]
    assert all((m < 0).any() for m in kept)
    torch.testing.assert_close(kept[0], vgg.layers[2](vgg.layers[1](vgg.layers[0](x))))


class Counting(nn.Module):
    """A module that records the batch size of each call and whether gradients are on."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.calls = []

    def forward(self, x):
        self.calls.append((len(x), torch.is_grad_enabled()))
        return self.inner(x)


def test_each_image_passes_through_once_and_the_target_without_a_graph(vgg):
    counting = Counting(vgg)
    logits, target = batch()
    logits.requires_grad_()
    TopologyLoss(counting)(logits, target).backward()
    assert counting.calls == [(3, True), (3, False)]
    assert (logits.grad != 0).flatten(1).float().mean() > 0.99
    assert all(p.grad is None for p in vgg.parameters())
    assert not any(p.requires_grad for p in vgg.parameters())


def test_ignored_pixels_change_nothing(vgg):
    """With one half ignored the mean is that of the other half, not half of it."""
    logits, target = batch(size=64)
    target[..., 32:] = 255
    loss = partial(TopologyLoss(vgg, ignore_index=255, reduction="none"))
    want = loss(logits, target)
    spoilt = logits.clone()
    spoilt[..., 32:] = torch.nan
    spoilt.requires_grad_()
    got = loss(spoilt, target)
    torch.testing.assert_close(got, want)
    got.sum().backward()
    assert (spoilt.grad[..., 32:] == 0).all()
    assert spoilt.grad.isfinite().all()
    flat = partial(topology_loss, features=lambda x: [x], normalize=False)
    torch.testing.assert_close(flat(logits, target, ignore_index=255), flat(logits[..., :32], target[..., :32]))


def test_float32_inside_under_autocast(vgg):
    logits, target = batch()
    want = TopologyLoss(vgg)(logits.bfloat16().float(), target)
    with torch.autocast("cpu", torch.bfloat16):
        got = TopologyLoss(vgg)(logits.bfloat16(), target)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, want)


@pytest.mark.slow
def test_compiles_as_one_graph(vgg):
    torch.compiler.reset()
    logits, target = batch()
    loss = TopologyLoss(vgg, ignore_index=255)
    torch.testing.assert_close(
        torch.compile(loss, fullgraph=True, backend="eager")(logits, target), loss(logits, target)
    )


def test_batch_norms_of_the_network_do_not_learn():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    loss = TopologyLoss(Listed(net))
    logits, target = batch()
    before = copy.deepcopy(net.state_dict())
    want = loss(logits, target)
    nn.ModuleList([loss]).train()
    assert loss.training
    assert not net.training
    assert torch.equal(loss(logits, target), want)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


class Listed(nn.Module):
    """A network as features of one map."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return [self.net(x)]


@pytest.mark.parametrize("answer", [None, {}, torch.zeros(3, 1, 8, 8)])
def test_features_must_return_a_list(answer):
    with pytest.raises(
        TypeError, match=r"features must return a list or tuple of maps N C h w, got a (NoneType|dict|Tensor)"
    ):
        topology_loss(torch.zeros(3, 1, 8, 8), torch.zeros(3, 8, 8), lambda x: answer)


def test_vgg_refuses_small_images(vgg):
    with pytest.raises(ValueError, match="images must be at least 4 x 4 for VGG19, got 3 x 9"):
        TopologyLoss(vgg)(torch.zeros(1, 1, 3, 9), torch.zeros(1, 3, 9))


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (lambda x: [], "N = 3, got the shapes []"),
        (lambda x: [x[0]], "features must return maps N C h w with N = 3, got the shapes [(3, 8, 8)]"),
        (lambda x: [x[:2]], "got the shapes [(2, 3, 8, 8)]"),
    ],
)
def test_features_must_return_maps(features, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        topology_loss(torch.zeros(3, 1, 8, 8), torch.zeros(3, 8, 8), features)


def test_features_must_be_callable():
    with pytest.raises(
        TypeError, match="features must be a callable, images N 3 H W -> maps N C h w, or None, got 'vgg19'"
    ):
        TopologyLoss("vgg19")
    with pytest.raises(ValueError, match="'avg'"):
        TopologyLoss(edges, reduction="avg")


def test_without_weights_the_error_names_the_alternative(monkeypatch):
    def offline():
        raise OSError("no connection")

    monkeypatch.setattr("saltzoo.encoders.timm.vgg.VGG19Features", offline)
    with pytest.raises(
        OSError, match=r"no connection\. The topology loss works without VGG19: TopologyLoss\(features\)"
    ):
        TopologyLoss()


@pytest.mark.slow
def test_offline_without_a_cache(tmp_path):
    """In a new process, because the client reads its settings when it is imported."""
    code = "from saltzoo.losses import TopologyLoss\ntry: TopologyLoss()\nexcept OSError as error: print(error)"
    env = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=120)
    assert "the ImageNet weights of encoder 'vgg19.tv_in1k' can't be loaded" in done.stdout, done.stderr
    assert "HF_HUB_OFFLINE" in done.stdout
    assert "TopologyLoss(features) takes any callable" in done.stdout


def test_shows_its_options_and_moves_its_network(vgg):
    loss = TopologyLoss(vgg, normalize=False)
    assert "normalize=False, ignore_index=None, reduction='mean'" in repr(loss)
    assert loss.features is vgg
    assert next(loss.double().parameters()).dtype == torch.float64
    vgg.float()
