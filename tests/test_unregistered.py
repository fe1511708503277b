"""A view of a model that holds modules where torch does not register them: they are evaluated, and left as they are."""

import copy
import threading
from collections import UserList, defaultdict, deque
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from weakref import ref

import pytest
import torch
from torch import nn

from saltzoo import Preprocess, predict
from saltzoo._torch import evaluation_view
from saltzoo.training import reestimate_batch_norm


class Blocks(list):
    pass


class Parallel(dict):
    pass


@dataclass(frozen=True, slots=True)
class Stage:
    block: nn.Module
    name: str = "stage"


class Node:
    """An object that refers to itself by way of another."""

    def __init__(self, block):
        self.child = SimpleNamespace(parent=self, block=block)


class Own:
    """A class that makes one object only."""

    def __init__(self, block):
        self.block = block

    def __copy__(self):
        return self


def closure(block):
    return lambda x: block(x)


def two_closures(block):
    def second(x):
        return block(x) if x.sum() > 1e9 else first(x)

    def first(x):
        return block(x) if x.sum() < 1e9 else second(x)

    return second


def default(block):
    def run(x, *, block=block):
        return block(x)

    return run


class Net(nn.Module):
    """A model that runs a block, which `hold` keeps and `take` returns."""

    def __init__(self, hold, take):
        super().__init__()
        self.preprocess = Preprocess.gray()
        self.conv = nn.Conv2d(1, 1, 1)
        block = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Conv2d(3, 1, 1))
        self.held, self.take = hold(block), take

    def forward(self, x):
        return self.take(self.held)(self.conv(x))


HELD = {
    "list": (lambda block: [block], lambda held: held[0]),
    "list of lists": (lambda block: [[1, [block]]], lambda held: held[0][1][0]),
    "tuple": (lambda block: (2, block), lambda held: held[1]),
    "set": (lambda block: {block}, lambda held: next(iter(held))),
    "frozenset": (lambda block: frozenset([block]), lambda held: next(iter(held))),
    "deque": (lambda block: deque([block], maxlen=3), lambda held: held[0]),
    "subclass of list": (lambda block: Blocks([block]), lambda held: held[0]),
    "UserList": (lambda block: UserList([block]), lambda held: held[0]),
    "dict": (lambda block: {"a": block}, lambda held: held["a"]),
    "keys": (lambda block: {block: 1}, lambda held: next(iter(held))),
    "defaultdict": (lambda block: defaultdict(list, a=[block]), lambda held: held["a"][0]),
    "subclass of dict": (lambda block: Parallel(a=block), lambda held: held["a"]),
    "object": (lambda block: SimpleNamespace(block=block), lambda held: held.block),
    "object in an object": (
        lambda block: SimpleNamespace(inner=SimpleNamespace(blocks=[block])),
        lambda held: held.inner.blocks[0],
    ),
    "objects in a list": (lambda block: [Stage(block)], lambda held: held[0].block),
    "slots": (Stage, lambda held: held.block),
    "cycle": (Node, lambda held: held.child.parent.child.block),
    "method": (lambda block: block.forward, lambda held: held),
    "partial": (lambda block: partial(nn.Module.__call__, block), lambda held: held),
    "closure": (closure, lambda held: held),
    "closures that call each other": (two_closures, lambda held: held),
    "default": (default, lambda held: held),
    "parallel": (lambda block: [nn.DataParallel(block)], lambda held: held[0]),
    "script": (lambda block: [torch.jit.script(block)], lambda held: held[0]),
}


def state_of(net):
    block = net.take(net.held)
    modules = evaluation_modules(block)
    return [(module.training, copy.deepcopy(module.state_dict())) for module in modules]


def evaluation_modules(block):
    """Return the modules behind what a Net calls."""
    if isinstance(block, nn.Module):
        return [block]
    owners = [getattr(block, "__self__", None), *getattr(block, "args", ())]
    owners += [cell.cell_contents for cell in getattr(block, "__closure__", None) or ()]
    owners += (getattr(block, "__kwdefaults__", None) or {}).values()
    return [owner for owner in owners if isinstance(owner, nn.Module)]


def same(state, other):
    return all(
        mode == mode2 and all(torch.equal(value, theirs[key]) for key, value in ours.items())
        for (mode, ours), (mode2, theirs) in zip(state, other, strict=True)
    )


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize(("hold", "take"), HELD.values(), ids=HELD)
def test_what_torch_does_not_register_is_evaluated_and_left_as_it_is(hold, take):
    torch.manual_seed(0)
    net = Net(hold, take)
    before, images = state_of(net), torch.rand(3, 9, 9)
    assert before
    first, second = predict(net, images), predict(net, images)
    assert torch.equal(first, second)
    assert same(state_of(net), before)
    for module in evaluation_modules(net.take(net.held)):
        module.eval()
    with torch.no_grad():
        want = net.eval()(net.preprocess(images[:, None])).sigmoid()[:, 0]
    torch.testing.assert_close(first, want)


@pytest.mark.parametrize("name", ["list", "slots", "cycle", "closure"])
def test_two_threads_leave_it_as_it_is(name):
    torch.manual_seed(0)
    net, images = Net(*HELD[name]), torch.rand(4, 9, 9)
    before, want, got = state_of(net), predict(net, images), []
    threads = [threading.Thread(target=lambda: got.extend(predict(net, images) for _ in range(10))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 20
    for result in got:
        torch.testing.assert_close(result, want)
    assert same(state_of(net), before)


def test_a_reestimation_leaves_it_as_it_is():
    net = Net(*HELD["object in an object"])
    before = state_of(net)
    reestimate_batch_norm(net, [torch.rand(2, 1, 9, 9)])
    assert same(state_of(net), before)


def test_a_module_and_objects_that_two_refer_to_stay_one():
    net = Net(*HELD["object"])
    net.again, net.other = [net.held], (net.held.block, net.conv, net)
    view = evaluation_view(net)
    assert view.again[0] is view.held
    assert view.held.block is view.other[0] is not net.held.block
    assert view.other[1:] == (view.conv, view)
    assert net.other[1:] == (net.conv, net)


def test_what_leads_to_no_module_is_shared():
    net = Net(*HELD["list"])
    net.notes, net.plan = [["a"]], SimpleNamespace(sizes=[1], lock=threading.Lock())
    net.plan.itself = net.plan
    view = evaluation_view(net)
    assert view.notes is net.notes
    assert view.plan is net.plan


def test_weak_references_lead_to_the_view():
    net = Net(*HELD["list"])
    net.held[0].parent = ref(net)
    view = evaluation_view(net)
    assert view.held[0].parent() is view
    assert net.held[0].parent() is net


def test_an_object_that_cannot_be_copied_stays_what_it_is():
    net = Net(Own, lambda held: held.block)
    block = net.held.block
    assert evaluation_view(net).held is net.held
    assert net.held.block is block
