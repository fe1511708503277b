"""Metrics within torch.compile, torch.vmap and FakeTensorMode."""

import pytest
import torch
from test_metrics import FORMS, FUNCTIONS, PROBABILITIES, batch, plain, score
from torch._subclasses.fake_tensor import FakeTensorMode

from saltzoo.metrics import ThresholdSearch, search_threshold

every_form = pytest.mark.parametrize("name", FORMS)


def function_of(name):
    """Return the form's function of a batch, its sums if it is a search."""
    build, kind, options = FORMS[name]
    options = {**options, "ignore_index": 255}
    pred, target = batch(kind, ignored=0.2)
    if build in FUNCTIONS:
        return lambda p, t: FUNCTIONS[build](p, t, **options), pred, target
    return lambda p, t: build(**options).update(p, t)._state, pred, target


def same(got, want):
    got, want = ([*x] if isinstance(x, tuple) else [x] for x in (got, want))
    torch.testing.assert_close(got, want, equal_nan=True)


@pytest.mark.slow
@every_form
def test_compiles_as_one_graph(name):
    torch._dynamo.reset()
    function, pred, target = function_of(name)
    same(torch.compile(function, fullgraph=True, backend="eager")(pred, target), function(pred, target))


@pytest.mark.slow
@every_form
def test_a_compiled_loop_scores_alike(name):
    torch._dynamo.reset()
    build, kind, options = FORMS[name]
    options = {**options, "ignore_index": 255}
    batches = [batch(kind, seed, ignored=0.2) for seed in range(3)]
    metric = build(**options)
    update = torch.compile(metric.update, backend="eager")
    for pred, target in batches:
        update(pred, target)
    assert plain(metric.compute()) == score(build, options, *batches)


@pytest.mark.slow
def test_compiles_with_inductor_and_from_arrays():
    torch._dynamo.reset()
    function, pred, target = function_of("confusion")
    same(torch.compile(function, fullgraph=True)(pred, target), function(pred, target))
    same(torch.compile(function, backend="eager")(pred.numpy(), target.numpy()), function(pred, target))


@pytest.mark.filterwarnings("error::UserWarning")  # of slow fallbacks
@every_form
def test_vmap_scores_each_image(name):
    function, pred, target = function_of(name)
    got = torch.vmap(lambda p, t: function(p[None], t[None]))(pred, target)
    each = [function(p[None], t[None]) for p, t in zip(pred, target, strict=True)]
    same(got, tuple(map(torch.stack, zip(*each, strict=True))) if isinstance(got, tuple) else torch.stack(each))


@every_form
def test_fake_tensors_have_no_values(name):
    function, pred, target = function_of(name)
    want = function(pred, target)
    with FakeTensorMode() as mode:
        got = function(mode.from_tensor(pred), mode.from_tensor(target))
    want, got = ([*x] if isinstance(x, tuple) else [x] for x in (want, got))
    assert [x.shape for x in got] == [x.shape for x in want]


def test_rounding_may_carry_probabilities_above_1():
    p, truth = batch(PROBABILITIES)
    want = search_threshold(p.float(), truth)
    assert plain(search_threshold(p.float().where(p < 1, 1 + 1e-7), truth)) == plain(want)
    with pytest.raises(ValueError, match=r"probabilities must be in 0\.\.1, got 0 to 1\.000002"):
        ThresholdSearch().update(torch.tensor([[[0.0, 1.000002]]]), torch.ones(1, 1, 2).long())
