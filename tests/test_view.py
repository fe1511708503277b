"""A view of a model in evaluation mode: the model is untouched, and the view computes what the model in eval() does."""

import copy
import threading
from collections import namedtuple
from functools import partial, wraps
from types import MethodType

import pytest
import torch
from torch import nn

from saltzoo import Preprocess, cost, create_model, predict
from saltzoo._torch import evaluating, evaluation_view
from saltzoo.training import keep_batch_norm_frozen, reestimate_batch_norm


def modes(model):
    return [module.training for module in model.modules()]


class Net(nn.Module):
    """A user's model that is another in training mode: `noisy` and its norm show it."""

    def __init__(self):
        super().__init__()
        self.preprocess = Preprocess.gray()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)
        self.norm = nn.BatchNorm2d(1)
        self.noisy = nn.Dropout(0.5)

    def forward(self, x):
        return self.noisy(self.norm(self.conv(x)))


def expected(net, x):
    """The output of a copy in evaluation mode."""
    with torch.no_grad():
        return copy.deepcopy(net).eval()(x)


def in_a_list(net):
    net.parts = [net.noisy]
    net.forward = MethodType(lambda self, x: self.parts[0](self.norm(self.conv(x))), net)


def in_a_mapping_of_a_named_tuple(net):
    net.parts = {"pair": namedtuple("Pair", "one other")(net.norm, net.noisy)}
    net.forward = MethodType(lambda self, x: self.parts["pair"].other(self.parts["pair"].one(self.conv(x))), net)


def in_a_partial_hook(net):
    net.conv.register_forward_hook(partial(lambda noisy, module, args, output: noisy(output), net.noisy))


def in_a_bound_hook(net):
    net.conv.register_forward_hook(MethodType(lambda self, module, args, output: self.noisy(output), net))


def in_a_partial_forward(net):
    old = net.conv.forward
    net.conv.forward = wraps(old)(partial(lambda noisy, x: noisy(old(x)), net.noisy))


def in_an_object(net):
    class Reader:
        def __init__(self, module):
            self.module = module

    net.reader = Reader(net.noisy)
    net.forward = MethodType(lambda self, x: self.reader.module(self.norm(self.conv(x))), net)


def in_its_own_closure(net):
    def build(self):
        def hook(module, args, output):
            self.seen = output

        return hook

    net.conv.register_forward_hook(build(net))
    net.forward = MethodType(lambda self, x: self.noisy(self.norm(self.conv(x) + self.seen)), net)


def with_a_parent(net):
    net.conv.__dict__["parent"] = net
    net.conv.register_forward_hook(lambda module, args, output: module.parent.noisy(output))


def under_weight_norm(net):
    torch.nn.utils.parametrizations.weight_norm(net.conv)


def under_spectral_norm(net):
    torch.nn.utils.parametrizations.spectral_norm(net.conv)


def with_a_script(net):
    net.norm = torch.jit.script(net.norm)


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize(
    "change",
    [
        lambda net: None,
        in_a_list,
        in_a_mapping_of_a_named_tuple,
        in_a_partial_hook,
        in_a_bound_hook,
        in_a_partial_forward,
        in_an_object,
        in_its_own_closure,
        with_a_parent,
        under_weight_norm,
        under_spectral_norm,
        with_a_script,
    ],
)
@torch.no_grad()
def test_references_to_modules_are_those_of_the_view(change):
    net = Net()
    change(net)
    x = torch.randn(2, 1, 9, 9)
    before, state = modes(net), copy.deepcopy(net.state_dict())
    with evaluating(net) as view:
        got = view(x)
        assert modes(net) == before
    assert not any(modes(view))
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    torch.testing.assert_close(got, net.eval()(x))


def test_shares_tensors_and_keeps_a_module_used_twice_one():
    shared = nn.Linear(2, 2)
    net = nn.Sequential(shared, nn.ReLU(), shared)
    view = evaluation_view(net)
    assert view[0] is view[2]
    assert type(view[0]) is nn.Linear
    assert all(a is b for a, b in zip(view.parameters(), net.parameters(), strict=True))
    view[0].weight = nn.Parameter(torch.zeros(2, 2))  # is swapped in the view alone
    assert net[0].weight.any()


def test_what_modules_and_hooks_store_is_in_the_model_afterwards():
    class Counting(Net):
        calls = 0

        def forward(self, x):
            self.calls += 1
            self.last = self.norm
            return super().forward(x)

    net = Counting()
    net.conv.register_forward_hook(lambda module, args, output: setattr(module, "out", output))
    predict(net, torch.rand(5, 9, 9), batch_size=2)
    assert net.calls == 3
    assert net.conv.out.shape == (1, 1, 9, 9)
    assert net.last is net.norm
    assert all(modes(net))


def test_a_users_own_eval_is_called_on_the_view():
    class Always(nn.Dropout):
        def train(self, mode=True):
            return super().train(True)

    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))
            self.drop = Always()

        def train(self, mode=True):
            super().train(mode)
            if not mode:
                self.weight = nn.Parameter(self.weight + 1)
            return self

        def forward(self, x):
            return self.weight * x

    net = Fused()
    with evaluating(net) as view:
        assert view(1.0) == 2
        assert view.drop.training
    assert net.weight == 1
    assert net.training


def test_keeps_frozen_norms_of_training_frozen():
    net = nn.Sequential(nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1)).train()
    keep_batch_norm_frozen(net)
    view = evaluation_view(net)
    view.train()
    assert (view[1].training, net[1].training, net[0].training) == (False, False, True)
    assert view.train()[0].training


class Meeting(nn.Module):
    """A module in which a call waits until the main thread has looked."""

    def __init__(self):
        super().__init__()
        self.inside, self.looked = threading.Barrier(2, timeout=60), threading.Barrier(2, timeout=60)
        self.seen = []

    def forward(self, x):
        self.seen.append(self.training)
        self.inside.wait()
        self.looked.wait()
        return x


def snapshot(model):
    tensors = [
        (name, type(tensor), tensor.detach().tolist()) for name, tensor in model.state_dict(keep_vars=True).items()
    ]
    return modes(model), tensors


@pytest.mark.parametrize(
    "call",
    [
        lambda model: predict(model, torch.rand(2, 37, 40)),
        lambda model: reestimate_batch_norm(model, [torch.randn(2, 1, 37, 40)]),
        lambda model: cost(model, (37, 40)),
    ],
    ids=["predict", "reestimate_batch_norm", "cost"],
)
@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_untouched_in_the_middle_of_a_call(call, training):
    model = create_model("unet_plain", channels=(4, 6)).train(training)
    model.encoder.stages[0].append(meeting := Meeting())
    model.decoder.train()
    before = snapshot(model)
    thread = threading.Thread(target=call, args=(model,))
    thread.start()
    meeting.inside.wait()
    assert snapshot(model) == before
    meeting.looked.wait()
    thread.join()
    assert meeting.seen == [False]
    assert modes(model) == before[0]


def test_a_reestimation_shows_its_statistics_only_at_the_end():
    model = nn.Sequential(nn.BatchNorm2d(1), Meeting())
    model[0].running_mean.fill_(7.0)
    thread = threading.Thread(target=reestimate_batch_norm, args=(model, [torch.ones(2, 1, 3, 3)]))
    thread.start()
    model[1].inside.wait()
    during = (model[0].running_mean.item(), model[0].num_batches_tracked.item(), model[0].momentum)
    model[1].looked.wait()
    thread.join()
    assert during == (7.0, 0, 0.1)
    assert (model[0].running_mean.item(), model[0].momentum) == (1.0, 0.1)


def test_threads_that_predict_with_one_model_get_what_one_gets_alone():
    torch.manual_seed(0)
    model = create_model("saltnet_s", channels=(8, 12), decoder_channels=(8,)).train()
    images = torch.rand(8, 6, 37, 40)
    want = [predict(model, image) for image in images]
    state = copy.deepcopy(model.state_dict())
    got, switching = {}, threading.Event()

    def switch():
        while not switching.is_set():
            model.train()
            model.eval()

    def work(number):
        for _ in range(5):
            got.setdefault(number, []).append(predict(model, images[number]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    other = threading.Thread(target=switch)
    for thread in [other, *threads]:
        thread.start()
    for thread in threads:
        thread.join()
    switching.set()
    other.join()
    for number, results in got.items():
        assert len(results) == 5
        for result in results:
            torch.testing.assert_close(result, want[number])
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_an_object_that_hooks_fill_is_not_shared_by_two_calls():
    """timm collects the maps of some encoders so, unet_xception's for one."""

    class Collector:
        def __init__(self, module):
            self.maps = []
            module.register_forward_hook(partial(self.collect, "conv"))

        def collect(self, name, module, args, output):
            self.maps.append((name, output))

    class Collecting(nn.Module):
        def __init__(self):
            super().__init__()
            self.preprocess = Preprocess(mean=(0.0,), std=(1.0,))
            self.conv = nn.Conv2d(1, 1, 1)
            self.collector = Collector(self.conv)
            self.meet = threading.Barrier(2, timeout=60)

        def forward(self, x):
            self.conv(x)
            self.meet.wait()
            ((_, output),) = self.collector.maps
            return output

    model, got = Collecting(), {}
    images = [torch.zeros(3, 4), torch.ones(3, 4)]

    def work(number):
        got[number] = predict(model, images[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    weight, bias = model.conv.weight.item(), model.conv.bias.item()
    for number in range(2):
        want = torch.tensor(weight * number + bias).sigmoid().expand(3, 4)
        torch.testing.assert_close(got[number], want)
    assert model.collector.maps == []


def test_an_object_outside_the_model_gets_what_its_hook_sees():
    class Recorder:
        def __init__(self):
            self.shapes, self.count = [], 0

        def record(self, module, args, output):
            self.shapes.append(tuple(output.shape))
            self.count += 1

    net, recorder = Net(), Recorder()
    net.conv.register_forward_hook(recorder.record)
    predict(net, torch.rand(3, 5, 6), batch_size=2)
    assert recorder.shapes == [(2, 1, 5, 6), (1, 1, 5, 6)]
    assert recorder.count == 2


@pytest.mark.slow
def test_a_compiled_model_is_compiled_once_for_all_views():
    torch.manual_seed(0)
    graphs = []

    def backend(graph, _inputs):
        graphs.append(graph)
        return graph.forward

    net = Net()
    compiled = torch.compile(net, backend=backend)
    images = torch.rand(2, 9, 9)
    want = predict(net, images)
    for _ in range(4):
        torch.testing.assert_close(predict(compiled, images), want)
    assert len(graphs) == 1
    assert all(modes(net))
    net.compile(backend=backend)
    torch.testing.assert_close(predict(net, images), want)
    torch.testing.assert_close(predict(net.eval(), images), want)
    whole = nn.Sequential(torch.compile(Net(), backend=backend), nn.Dropout())
    whole.preprocess = Preprocess.gray()
    assert torch.equal(predict(whole, images), predict(whole, images))
    assert all(modes(whole))


@pytest.mark.parametrize("kind", ["closure", "default", "wraps"])
def test_a_forward_that_closes_over_a_module_leaves_the_model_untouched(kind):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.9)).train()
    x = torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        want = copy.deepcopy(model).eval()(x)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for child in (model, model[1]):
        old = child.forward

        def named(y, g=old):
            return g(y)

        child.forward = {"closure": _calling(old), "default": named, "wraps": wraps(old)(_calling(old))}[kind]
    with torch.no_grad():
        torch.testing.assert_close(evaluation_view(model)(x), want)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.training


def _calling(function):
    return lambda *args: function(*args)
