"""Metrics within torch.compile, torch.vmap and FakeTensorMode."""

import inspect
from functools import partial

import pytest
import torch
from test_metrics import FORMS, FUNCTIONS, LABELS, PROBABILITIES, batch, plain, score
from torch._subclasses.fake_tensor import FakeTensorMode

from saltzoo.metrics import ThresholdSearch, _counts, iou_score, search_threshold, threshold_search

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


def stacked(scores):
    return tuple(map(torch.stack, zip(*scores, strict=True))) if isinstance(scores[0], tuple) else torch.stack(scores)


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
    same(got, stacked(each))
    for dims in ((0, None), (None, 0)):  # the predictions of several networks, or several interpretations
        given = [x if dim == 0 else x[2] for x, dim in zip((pred, target), dims, strict=True)]
        pairs = zip(*(x if dim == 0 else [x] * 6 for x, dim in zip(given, dims, strict=True)), strict=True)
        got = torch.vmap(lambda p, t: function(p[None], t[None]), dims)(*given)
        same(got, stacked([function(p[None], t[None]) for p, t in pairs]))


@every_form
def test_fake_tensors_have_no_values(name):
    function, pred, target = function_of(name)
    want = function(pred, target)
    with FakeTensorMode() as mode:
        got = function(mode.from_tensor(pred), mode.from_tensor(target))
    want, got = ([*x] if isinstance(x, tuple) else [x] for x in (want, got))
    assert [x.shape for x in got] == [x.shape for x in want]


@pytest.mark.parametrize("value", [-0.1, 1.1, torch.nan, torch.inf])
def test_probabilities_out_of_range_that_could_not_be_read_are_refused_by_compute(value, monkeypatch):
    p, truth = batch(PROBABILITIES, ignored=0.2)
    truth[2, 1, 1] = 0
    spoilt = p.index_put((torch.tensor(2), torch.tensor(1), torch.tensor(1)), torch.tensor(value, dtype=p.dtype))
    state = torch.vmap(lambda x, y: ThresholdSearch(ignore_index=255).update(x, y)._state)(spoilt[None], truth[None])
    assert state[0, 0] < 0
    search = ThresholdSearch(ignore_index=255)
    want = plain(ThresholdSearch(ignore_index=255).update(p, truth).compute())
    monkeypatch.setattr(threshold_search, "on_cpu", lambda *tensors: False)
    assert plain(search.update(p, truth).compute()) == want
    with pytest.raises(ValueError, match=r"probabilities must be in 0\.\.1, got others: take the sigmoid"):
        search.update(spoilt, truth).compute()
    truth[2, 1, 1] = 255
    search.reset()
    search.update(spoilt, truth).compute()


def test_rounding_may_carry_probabilities_above_1():
    p, truth = batch(PROBABILITIES)
    want = search_threshold(p.float(), truth)
    assert plain(search_threshold(p.float().where(p < 1, 1 + 1e-7), truth)) == plain(want)
    with pytest.raises(ValueError, match=r"probabilities must be in 0\.\.1, got 0 to 1\.000002"):
        ThresholdSearch().update(torch.tensor([[[0.0, 1.000002]]]), torch.ones(1, 1, 2).long())


LABEL_FORMS = [name for name, (_, kind, _) in FORMS.items() if kind == LABELS]
every_label_form = pytest.mark.parametrize("name", LABEL_FORMS)
WRONG = [("pred", -1), ("pred", 4), ("target", -1), ("target", 4)]
every_wrong_label = pytest.mark.parametrize(("where", "label"), WRONG)


def with_wrong_label(name, where, label):
    """Return the form and its batch with one label out of range in the fourth image."""
    build, kind, options = FORMS[name]
    pred, target = batch(kind, ignored=0.2)
    target[3, 2, 2] = 1
    (pred if where == "pred" else target)[3, 2, 2] = label
    return build, {**options, "ignore_index": 255}, pred, target


def poisoned(score, name):
    """Return whether nothing of a score can be taken for one."""
    if name == "confusion":
        return bool((score < 0).all())
    parts = score if isinstance(score, tuple) else (score,)
    return all(bool(part.isnan().all()) for part in parts)


@every_label_form
@every_wrong_label
def test_labels_out_of_range_poison_what_vmap_returns(name, where, label):
    build, options, pred, target = with_wrong_label(name, where, label)
    function = partial(FUNCTIONS[build], **options)
    with pytest.raises(ValueError, match="must be 0 to 3"):
        function(pred, target)
    with pytest.raises(ValueError, match="must be 0 to 3"):
        build(**options).update(pred, target)
    whole = torch.vmap(function)(pred[None], target[None])
    whole = tuple(part[0] for part in whole) if isinstance(whole, tuple) else whole[0]
    assert poisoned(whole, name)
    each = torch.vmap(lambda p, t: function(p[None], t[None]))(pred, target)
    right = [n for n in range(6) if n != 3]
    same(
        tuple(part[right] for part in each) if isinstance(each, tuple) else each[right],
        torch.vmap(lambda p, t: function(p[None], t[None]))(pred[right], target[right]),
    )
    assert poisoned(tuple(part[3] for part in each) if isinstance(each, tuple) else each[3], name)


@every_label_form
@every_wrong_label
def test_compute_refuses_labels_out_of_range_that_could_not_be_read(name, where, label, monkeypatch):
    """As under torch.compile and on a GPU, where a check would wait for the device."""
    build, options, pred, target = with_wrong_label(name, where, label)
    other = batch(LABELS, seed=1)
    monkeypatch.setattr(_counts, "on_cpu", lambda *tensors: False)
    before, after = build(**options).update(pred, target).update(*other), build(**options).update(*other)
    for metric in (before, after.update(pred, target), build(**options).merge(before)):
        with pytest.raises(ValueError, match=r"labels given to .* must be 0 to num_classes - 1"):
            metric.compute()
    before.reset()
    assert plain(before.update(*other).compute()) == score(build, options, other)
    if "reduction" in inspect.signature(FUNCTIONS[build]).parameters:
        each = FUNCTIONS[build](pred, target, **options, reduction="none")
        for part in each if isinstance(each, tuple) else (each,):
            per_image = part.shape[:1] == (6,)
            assert part[3].isnan().all() if per_image else part.isnan().all()
    assert poisoned(FUNCTIONS[build](pred, target, **options), name)


@pytest.mark.slow
@every_label_form
def test_labels_out_of_range_poison_what_is_compiled(name):
    torch._dynamo.reset()
    build, options, pred, target = with_wrong_label(name, "target", 4)
    function = partial(FUNCTIONS[build], **options)
    assert poisoned(torch.compile(function, fullgraph=True, backend="eager")(pred, target), name)
    metric = build(**options)
    torch.compile(metric.update, backend="eager")(pred, target)
    with pytest.raises(ValueError, match=r"labels given to .* must be 0 to num_classes - 1"):
        metric.compute()


@pytest.mark.slow
def test_labels_out_of_range_poison_what_inductor_compiles():
    torch._dynamo.reset()
    _, options, pred, target = with_wrong_label("iou of labels", "pred", -1)
    assert torch.compile(partial(iou_score, **options), fullgraph=True)(pred, target).isnan()


@every_label_form
def test_ignored_labels_are_not_out_of_range(name, monkeypatch):
    build, options, pred, target = with_wrong_label(name, "pred", 99)
    target[3, 2, 2] = 255
    want = score(build, options, (pred, target))
    monkeypatch.setattr(_counts, "on_cpu", lambda *tensors: False)
    assert score(build, options, (pred, target)) == want
