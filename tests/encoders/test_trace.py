"""Traces of small networks with the structures that make the path hard to find."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from saltzoo.encoders.timm.trace import find_site, reduction, trace
from saltzoo.encoders.timm.unused import find_unused, remove_unused


def conv(before=4, after=4, stride=1):
    return nn.Conv2d(before, after, 3, stride, 1)


class Net(nn.Module):
    """A stem, a module in the middle, and a coarser stage."""

    def __init__(self, middle):
        super().__init__()
        self.stem, self.middle, self.down = conv(1, 4, 2), middle, conv(4, 8, 2)

    def forward(self, x):
        first = self.middle(self.stem(x))
        return [first, self.down(first)]


class Residual(nn.Module):
    """Its shortcut is an identity: it returns the output of the stage before, but only one branch reads it."""

    def __init__(self):
        super().__init__()
        self.branch, self.shortcut = conv(), nn.Sequential()

    def forward(self, x):
        return self.branch(x) + self.shortcut(x)


class Tap(nn.Module):
    """The first map is the start of the next stage: `act` makes it in a branch, and `past` bypasses it."""

    def __init__(self, branch):
        super().__init__()
        self.stem, self.act, self.down, self.past = conv(1, 4, 2), branch, conv(4, 8, 2), nn.Conv2d(4, 8, 1, 2)

    def forward(self, x):
        x = self.stem(x)
        first = self.act(x)
        return [first, self.down(first) + self.past(x)]


class Functional(nn.Module):
    """The path between the maps is not the output of a module, but a sum of two stems computed in `forward`."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.down = conv(1, 4, 2), conv(1, 4, 2), conv(4, 8, 2)

    def forward(self, x):
        first = self.left(x) + self.right(x)
        return [first, self.down(first)]


class Parts(nn.Module):
    """A stage that returns a list of two parts; with `passes` it passes on the second part of the stage before."""

    def __init__(self, *, passes):
        super().__init__()
        self.one, self.two, self.passes = conv(), conv(), passes

    def forward(self, x):
        if isinstance(x, list):
            return [self.one(x[0]), x[1] if self.passes else self.two(x[1])]
        return [self.one(x), self.two(x)]


class Listed(nn.Module):
    def __init__(self, *, passes):
        super().__init__()
        self.stem, self.first = conv(1, 4, 2), Parts(passes=False)
        self.second, self.down = Parts(passes=passes), conv(8, 8, 2)

    def forward(self, x):
        parts = self.second(self.first(self.stem(x)))
        joined = torch.cat(parts, 1)
        return [joined, self.down(joined)]


class Twice(nn.Module):
    """A module that runs twice has two positions in the path."""

    def __init__(self):
        super().__init__()
        self.stem, self.block, self.down = conv(1, 4, 2), conv(), conv(4, 8, 2)

    def forward(self, x):
        first = self.block(self.block(self.stem(x)))
        return [first, self.down(first)]


class FromBelow(nn.Module):
    """The finer map is computed from the coarser one: a module inserted at `down` would affect both."""

    def __init__(self):
        super().__init__()
        self.stem, self.down = conv(1, 4, 2), conv(4, 8, 2)

    def forward(self, x):
        low = self.down(self.stem(x))
        return [F.interpolate(low, scale_factor=2, mode="nearest"), low * 2]


def sites(network, maps=(0, 1), *, channels_last=False):
    seen = trace(network.eval(), (36, 44), in_chans=1)
    return [find_site(seen, maps, i, channels_last=channels_last) for i in range(len(maps))]


def names(network):
    return [site and site.module for site in sites(network)]


class NHWC(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm, self.down = conv(1, 4, 2), nn.LayerNorm(4), conv(4, 8, 2)

    def forward(self, x):
        first = self.norm(self.stem(x).permute(0, 2, 3, 1))
        return [first, self.down(first.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)]


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (Net(nn.Identity()), ["stem", "down"]),
        (Net(nn.ReLU()), ["middle", "down"]),
        (Net(nn.ReLU(inplace=True)), ["middle", "down"]),
        (Net(nn.Sequential(conv(), nn.ReLU(), nn.Dropout())), ["middle", "down"]),
        (Net(Residual()), ["middle", "down"]),
        # A branch without and with parameters: in both cases the path forks at the stem.
        (Tap(nn.ReLU()), ["stem", None]),
        (Tap(conv()), ["stem", None]),
        (Functional(), [None, "down"]),
        (Listed(passes=False), ["second", "down"]),
        # The second stage also reads the part that it passes on.
        (Listed(passes=True), [None, "down"]),
        (Twice(), [None, "down"]),
        (FromBelow(), [None, None]),
    ],
)
def test_site_of_each_map(network, expected):
    assert names(network) == expected


def test_a_shortcut_is_not_a_site():
    class TwoStages(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = conv(1, 4, 2), nn.Sequential(Residual(), conv(4, 8, 2))

        def forward(self, x):
            first = self.first(x)
            return [first, self.second(first)]

    assert names(TwoStages()) == ["first", "second"]


def test_a_site_has_the_channels_and_the_layout_of_the_map():
    first, second = sites(Listed(passes=False))
    assert (first.channels, first.channels_last, second.channels) == (8, False, 8)
    first, second = sites(NHWC(), channels_last=True)
    assert (first.module, first.channels, first.channels_last) == ("norm", 4, True)
    assert (second.module, second.channels, second.channels_last) == ("down", 8, False)


def test_a_network_may_modify_its_image_in_place():
    class Writes(Net):
        def forward(self, x):
            return super().forward(x.mul_(2))

    assert names(Writes(nn.ReLU())) == ["middle", "down"]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_traces_with_gradients_disabled(mode):
    network = Net(nn.ReLU())
    with mode():
        assert names(network) == ["middle", "down"]


def test_hooks_are_removed_if_the_network_fails():
    network = Net(conv(5, 4))
    with pytest.raises(RuntimeError, match="channels"):
        trace(network, (32, 32), in_chans=1)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


class PartlyUnused(nn.Module):
    """`head` is unused with two maps; `extra` and the parameter `spare` of `norm` are never used."""

    def __init__(self):
        super().__init__()
        self.stem, self.down = conv(1, 4, 2), nn.Sequential(conv(4, 4, 2), conv(4, 8, 2))
        self.head = nn.Sequential(nn.BatchNorm2d(8), conv(8, 3))
        self.extra = nn.Parameter(torch.ones(4))
        self.norm = nn.LayerNorm(4)
        self.norm.spare = nn.Parameter(torch.ones(1))

    def forward(self, x):
        first = self.norm(self.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        second = self.down(first)
        return [first, second, self.head(second)]


@pytest.mark.parametrize("maps", [(0,), (0, 1), (1,), (2,), (0, 2)])
def test_unused_parameters_are_those_without_gradient(maps):
    network = PartlyUnused().eval()
    named = find_unused(network, trace(network, (32, 32), in_chans=1), maps)
    found = network(torch.randn(1, 1, 32, 32))
    sum(found[i].square().sum() for i in maps).backward()
    without_gradient = {name for name, p in network.named_parameters() if p.grad is None}
    assert {
        p for p in dict(network.named_parameters()) if any(p == n or p.startswith(f"{n}.") for n in named)
    } == without_gradient
    # An unused module is named once, by its outermost name.
    assert ("down" in named) == (maps == (0,))
    assert not any(a != b and b.startswith(f"{a}.") for a in named for b in named)


def test_removing_unused_parameters_keeps_all_others():
    network = PartlyUnused().eval()
    before, x = network.state_dict(), torch.randn(1, 1, 32, 32)
    expected = network(x)
    remove_unused(network, find_unused(network, trace(network, (32, 32), in_chans=1), (0, 1)))
    after = network.state_dict()
    gone = {"extra", "norm.spare"} | {key for key in before if key.startswith("head.")}
    assert before.keys() - after.keys() == gone
    assert not after.keys() - before.keys()
    assert isinstance(network.head, nn.Identity)
    assert all(torch.equal(a, b) for a, b in zip(network(x)[:2], expected[:2], strict=True))


@given(st.integers(128, 2000), st.integers(128, 2000), st.lists(st.booleans(), max_size=5))
def test_reduction_of_sizes_rounded_up_or_down(height, width, halvings):
    size = [height, width]
    for up in halvings:
        size = [(side + up) // 2 for side in size]
    assert reduction((height, width), size) == 2 ** len(halvings)


def test_reduction_of_a_pooled_map():
    size = F.max_pool2d(torch.zeros(1, 1, 299, 299), 3, 2).shape[2:]
    assert reduction((299, 299), size) == 2
