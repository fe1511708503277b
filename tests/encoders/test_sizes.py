"""Image sizes that networks take: the search for multiples, networks that resize inside, and batches without images."""

import pytest
import timm
import torch
from torch import nn
from torch.func import grad, vmap

from saltzoo.encoders import TimmEncoder
from saltzoo.encoders.timm.plan import make_plan
from saltzoo.encoders.timm.sizes import trace_any_size


class Windows(nn.Module):
    """A pyramid with maps at 1/2 to 1/32, cut into windows at some stages, made for images of `own` pixels."""

    def __init__(self, own, windows, *, in_chans=1, only=(), stride=2):
        super().__init__()
        self.pretrained_cfg = {"input_size": (3, own, own)}
        self.windows, self.only = windows, only
        self.convs = nn.ModuleList(nn.Conv2d(in_chans if i == 0 else 4, 4, 3, stride, 1) for i in range(5))

    def forward(self, x):
        assert not self.only or x.shape[-1] in self.only
        maps = []
        for stage, conv in enumerate(self.convs):
            x = conv(x)
            window = self.windows.get(stage, 1)
            assert x.shape[2] % window == 0
            assert x.shape[3] % window == 0
            maps.append(x)
        return maps


class Resizing(Windows):
    """The same after resizing every image to one size, or to one height."""

    def __init__(self, how, **options):
        super().__init__(240, {}, **options)
        self.how = how

    def forward(self, x):
        size = {"to a square": (240, 240), "to a height": (240, x.shape[3])}[self.how]
        return super().forward(nn.functional.interpolate(x, size=size))


def on_meta(build):
    with torch.device("meta"):
        return build().eval()


def brute_force(twin, up_to):
    """The smallest number whose first 40 multiples the network takes."""

    def takes(side):
        try:
            twin(torch.zeros(1, 1, side, side, device="meta"))
        except AssertionError:
            return False
        return True

    return next(n for n in range(1, up_to + 1) if all(takes(n * times) for times in range(1, 41)))


@pytest.mark.parametrize(
    ("own", "windows"),
    [
        (160, {4: 5}),
        (160, {1: 5, 2: 5, 3: 5, 4: 5}),
        (224, {4: 7}),
        (224, {1: 7}),
        (384, {4: 12}),
        (384, {2: 12, 4: 3}),
        (192, {3: 6}),
        (256, {4: 8}),
        (320, {4: 5}),  # of which a trial of 320 x 320 tells nothing
        (288, {0: 9}),
        (240, {3: 5, 2: 3}),
        (352, {4: 11}),
        (256, {0: 1}),
        (299, {0: 1}),
        (224, {0: 2}),
        (224, {2: 4}),
    ],
)
def test_multiple_is_the_smallest_that_brute_force_finds(own, windows):
    twin = on_meta(lambda: Windows(own, windows))
    multiple, seen = trace_any_size(twin, 1)
    assert multiple == brute_force(twin, own)
    assert seen.size[0] != seen.size[1]


@pytest.mark.parametrize("only", [(160,), (160, 320), (160, 320, 480)])
def test_a_network_for_a_few_sizes_has_no_multiple(only):
    multiple, seen = trace_any_size(on_meta(lambda: Windows(160, {}, only=only)), 1)
    assert multiple is None
    assert seen.size == (160, 160)


@pytest.mark.parametrize("how", ["to a square", "to a height"])
def test_a_network_that_resizes_images_inside_is_refused(how):
    with pytest.raises(ValueError, match=r"no feature pyramid .* because it resizes images inside: .* use a conv"):
        make_plan("resizing", lambda in_chans: Resizing(how, in_chans=in_chans), in_chans=1)


def test_reductions_that_are_no_powers_of_two_are_refused():
    with pytest.raises(ValueError, match=r"reductions 3\.0, 9\.\d, .* which are no powers of two"):
        make_plan("thirds", lambda in_chans: Windows(243, {}, in_chans=in_chans, stride=3), in_chans=1)


@pytest.mark.parametrize("name", ["crossvit_tiny_240", pytest.param("crossvit_18_dagger_408", marks=pytest.mark.slow)])
def test_crossvit_is_refused_because_it_resizes_images(name):
    with pytest.raises(ValueError, match=f"{name!r} returns no feature pyramid .* it resizes images inside"):
        TimmEncoder(name)


def test_maxvit_takes_its_own_size_and_pads_others_to_its_windows():
    torch.manual_seed(0)
    encoder = TimmEncoder("test_maxvit").eval()
    assert encoder.multiple == 160
    theirs = timm.create_model("test_maxvit", features_only=True, in_chans=1).eval()
    theirs.load_state_dict(encoder.backbone.state_dict(), strict=True)
    for size in ((160, 160), (320, 160), (101, 131), (161, 40)):
        x = torch.randn(1, 1, *size)
        padded = torch.zeros(1, 1, *(-(-side // 160) * 160 for side in size))
        padded[..., : size[0], : size[1]] = x
        with torch.no_grad():
            features, maps = encoder(x), theirs(padded)
        for feature, whole, r in zip(features, maps, encoder.spec.reductions, strict=True):
            height, width = (-(-side // r) for side in size)
            assert torch.equal(feature, whole[..., :height, :width])


# Networks with windows, blocks or halos, and the multiple that they need.
WINDOWED = {
    "test_maxvit": 160,
    "maxvit_pico_rw_256": 256,
    "maxvit_tiny_tf_224": 224,
    "maxxvitv2_nano_rw_256": 256,
    "halonet26t": 256,
    "eca_halonext26ts": 256,
    "bat_resnext26ts": 256,
    "swin_tiny_patch4_window7_224": 4,
    "hieradet_small": 32,
    "hrnet_w18_small": 32,
    "dla46_c": 32,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WINDOWED)
def test_multiple_of_networks_with_windows(name):
    encoder = on_meta(lambda: TimmEncoder(name))
    multiple = encoder.multiple
    assert multiple == WINDOWED[name]

    def takes(*size):
        try:
            encoder.backbone(torch.zeros(1, 1, *size, device="meta"))
        except Exception:
            return False
        return True

    assert all(takes(multiple * times, multiple * other) for times, other in ((1, 1), (1, 2), (3, 2), (5, 1), (7, 3)))
    smaller = [multiple // factor for factor in (2, 3, 5, 7) if multiple % factor == 0]
    assert not any(takes(one * 11, one * 13) for one in smaller)


def test_an_error_inside_vmap_is_not_replaced_by_one_of_the_explanation():
    """No twin can be built inside vmap, which refuses random numbers."""
    encoder = TimmEncoder("test_coatnet").eval()
    with pytest.raises(RuntimeError, match="size of tensor"):
        vmap(lambda x: encoder(x[None])[0])(torch.zeros(2, 1, 64, 64))
    with pytest.raises((RuntimeError, ValueError), match="size of tensor"):
        grad(lambda x: encoder(x)[0].sum())(torch.zeros(2, 1, 64, 64))


@pytest.mark.parametrize("broken", ["_takes", "adapt"])
def test_an_error_is_raised_as_it_is_if_the_explanation_fails(monkeypatch, broken):
    encoder = TimmEncoder("test_coatnet").eval()

    def fail(*_args):
        raise KeyError("a fault of the explanation")

    monkeypatch.setattr(type(encoder._plan), broken, fail)
    with pytest.raises(RuntimeError, match="size of tensor") as caught:
        encoder(torch.zeros(1, 1, 64, 64))
    assert not isinstance(caught.value, ValueError)


def test_a_size_is_not_blamed_if_the_network_fails_on_its_own_size_too(monkeypatch):
    encoder = TimmEncoder("test_coatnet").eval()
    monkeypatch.setattr(type(encoder._plan), "_takes", lambda *_args: False)
    with pytest.raises(RuntimeError, match="size of tensor"):
        encoder(torch.zeros(1, 1, 64, 64))


EMPTY = ["test_resnet", "test_mambaout", "test_maxvit", "test_convnext"]


@pytest.mark.parametrize("name", [*EMPTY, pytest.param("swin_tiny_patch4_window7_224", marks=pytest.mark.slow)])
def test_a_batch_without_images_has_maps_without_images(name):
    encoder = TimmEncoder(name, attention="scse").eval()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    want = [one.shape[1:] for one in encoder(torch.zeros(1, 1, 97, 131))]
    x = torch.zeros(0, 1, 97, 131, requires_grad=True)
    maps = encoder(x)
    assert [one.shape for one in maps] == [(0, *shape) for shape in want]
    sum(one.sum() for one in maps).backward()
    assert all(p.grad is None or not p.grad.any() for p in encoder.parameters())
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def test_training_without_images_works_or_says_why():
    encoder = TimmEncoder("test_resnet", attention="scse").train()
    maps = encoder(torch.zeros(0, 1, 97, 131))
    assert [len(one) for one in maps] == [0] * 5
    assert all(value.isfinite().all() for value in encoder.state_dict().values())
    with pytest.raises(ValueError, match="'test_maxvit' can't be trained on a batch without images"):
        TimmEncoder("test_maxvit").train()(torch.zeros(0, 1, 97, 131))
    with pytest.raises(ValueError, match="'test_coatnet' can't take images of 97 x 131"):
        TimmEncoder("test_coatnet").eval()(torch.zeros(0, 1, 97, 131))


@pytest.mark.parametrize(
    ("value", "error"),
    [("no", ValueError), ("/my/weights.pth", ValueError), (None, TypeError), (1, TypeError), (0, TypeError)],
)
def test_pretrained_of_another_kind_is_refused(value, error):
    with pytest.raises(error, match='pretrained must be True or False, "hf-hub:ORG/NAME" or a state dict, got'):
        TimmEncoder("test_resnet", pretrained=value)
