"""The generated page of losses agrees with the losses."""

import importlib
import inspect
import math
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from saltzoo import losses, metrics

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reference" / "losses.md").read_text(encoding="utf-8")
PIXELS = 101 * 101

TASKS = {
    "bce_dice_loss": "binary, multilabel",
    "bce_loss": "binary, multilabel",
    "bootstrapped_bce": "binary, multilabel",
    "bootstrapped_ce": "labels",
    "ce_loss": "labels",
    "deep_supervision": "as its losses",
    "dice_loss": "binary, multilabel, labels",
    "focal_loss": "binary, multilabel, labels",
    "generalized_dice_loss": "binary, multilabel, labels",
    "jaccard_loss": "binary, multilabel, labels",
    "lovasz_hinge": "binary, multilabel",
    "lovasz_softmax": "labels",
    "topology_loss": "binary",
    "tversky_loss": "binary, multilabel, labels",
    "weighted_sum": "as its losses",
}
PAPERS = {
    "bootstrapped_bce": {"1605.06885", "1611.08323"},
    "bootstrapped_ce": {"1605.06885", "1611.08323"},
    "deep_supervision": {"1409.5185"},
    "dice_loss": {"1606.04797"},
    "focal_loss": {"1708.02002"},
    "generalized_dice_loss": {"1707.03237"},
    "jaccard_loss": {"10.1007/978-3-319-50835-1_22"},
    "lovasz_hinge": {"1705.08790"},
    "lovasz_softmax": {"1705.08790"},
    "topology_loss": {"1712.02190"},
    "tversky_loss": {"1706.05721"},
}


def rows(heading):
    """Cells of the tables of a section."""
    section = PAGE.partition(f"\n{heading}\n")[2].partition("\n## ")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("| `")]


LOSSES = {cells[0].strip("`"): cells[1:] for cells in rows("## All losses")}
EMPTY = {cells[0]: cells[1:] for cells in rows("## Empty masks")}


@pytest.fixture(scope="module")
def script():
    """Return a function that imports a module of docs as its scripts do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        yield importlib.import_module


def test_every_loss_has_a_row():
    assert list(LOSSES) == losses.list_losses()
    assert f"`saltzoo.losses` has {len(LOSSES)} losses," in PAGE


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_row_describes_its_loss(name):
    module, tasks, options, links = LOSSES[name]
    cls = getattr(losses, module.strip("`"))
    assert tasks == TASKS[name]
    assert set(re.findall(r"\(https://(?:arxiv\.org/abs|doi\.org)/([^)]+)\)", links)) == PAPERS.get(name, set())
    options = options.strip("`")
    function = getattr(losses, name, None)
    if not inspect.isfunction(function):
        assert [option.partition("=")[0] for option in options.split(", ")] == list(inspect.signature(cls).parameters)
        return
    _, _, *own = inspect.signature(function).parameters.values()
    defaults = {p.name: p.default for p in own if p.name not in ("features", "ignore_index", "reduction")}
    assert len(own) == len(defaults) + 2 + (name == "topology_loss")
    assert eval(f"dict({options})") == defaults | ({"features": None} if name == "topology_loss" else {})


def numbers(cell):
    loss, share, most = cell.replace(",", "").split("; ")
    return float(loss), float(share.removesuffix(" %")) / 100, float(most)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


TILES = np.zeros(PIXELS), np.where(np.arange(PIXELS) < 100, 3.0, -5.0), np.full(PIXELS, -8.0)
P = [sigmoid(x).sum() for x in TILES]
SLOPES = [sigmoid(x) * (1 - sigmoid(x)) for x in TILES]
MOST = [slope.max() for slope in SLOPES]
FORMS = {
    "`bce_loss`, `ce_loss`": [(np.logaddexp(0, x).mean(), 1, sigmoid(x).max()) for x in TILES],
    '`dice_loss`, `jaccard_loss`, `tversky_loss`: `empty="mean"`': [
        (p / (PIXELS + 1), 1, most * PIXELS / (PIXELS + 1)) for p, most in zip(P, MOST, strict=True)
    ],
    '`dice_loss`, `jaccard_loss`: `empty="smooth"`': [
        (p / (p + 1), 1, most * PIXELS / (p + 1) ** 2) for p, most in zip(P, MOST, strict=True)
    ],
    '`tversky_loss`: `empty="smooth"`': [
        (0.3 * p / (0.3 * p + 1), 1, 0.3 * most * PIXELS / (0.3 * p + 1) ** 2) for p, most in zip(P, MOST, strict=True)
    ],
    '`dice_loss`, `jaccard_loss`: `empty="smooth", smooth=100.0`': [
        (p / (p + 100), 1, 100 * most * PIXELS / (p + 100) ** 2) for p, most in zip(P, MOST, strict=True)
    ],
    '`dice_loss`, `jaccard_loss`: `empty="smooth", log=True`': [
        (math.log(1 + p), 1, most * PIXELS / (p + 1)) for p, most in zip(P, MOST, strict=True)
    ],
    '`dice_loss`, `jaccard_loss`, `tversky_loss`: `empty="skip"`': [(0, 0, 0)] * 3,
    "`lovasz_hinge`": [(1, 1 / PIXELS, PIXELS), (4, 1 / PIXELS, PIXELS), (0, 0, 0)],
    "`lovasz_hinge`: `symmetric=True`": [
        (1, 1, (PIXELS + 1) / 2),
        ((4 + 4 * 100 / PIXELS) / 2, 100 / PIXELS, (PIXELS + 1) / 2),
        (0, 0, 0),
    ],
    '`lovasz_hinge`: `margin="elu", symmetric=True`': [
        (2, 1, (PIXELS + 1) / 2),
        ((5 + (5 * 100 + math.exp(-4) * (PIXELS - 100)) / PIXELS) / 2, 1, (PIXELS + 1) / 2),
        (math.exp(-7), 1, math.exp(-7) * (PIXELS + 1) / 2),
    ],
}


@pytest.mark.parametrize("form", FORMS)
def test_numbers_on_an_empty_mask_have_closed_forms(form):
    for cell, expected in zip(EMPTY[form][:3], FORMS[form], strict=True):
        assert numbers(cell) == pytest.approx(expected, rel=6e-3)


def test_every_loss_and_policy_is_listed_for_empty_masks():
    text = "\n".join(EMPTY)
    assert set(re.findall(r"`(\w+)`", text)) == set(TASKS) - {"deep_supervision", "topology_loss", "weighted_sum"}
    for name in ("dice_loss", "jaccard_loss", "tversky_loss"):
        for policy in ("mean", "smooth", "skip"):
            assert any(f"`{name}`" in row and f'`empty="{policy}"`' in row for row in EMPTY)
    assert all(cells[3] for cells in EMPTY.values())


def test_losses_of_one_row_must_agree(script):
    module = script("_loss_empty")
    with pytest.raises(ValueError, match=r"dice_loss, tversky_loss .* differ on an empty mask"):
        module.cells_of(module.EmptyRow(("dice_loss", "tversky_loss"), {"empty": "smooth"}))


def test_the_weakness_of_smoothing_follows_from_its_formula(script):
    times = (PIXELS / 2 + 1) ** 2 / (PIXELS + 1)
    assert re.search(rf"\b{times:,.0f} times smaller", PAGE)
    assert script("_loss_empty").pull("smooth") == pytest.approx(0.25 / (PIXELS / 2 + 1) ** 2)


def test_a_slope_is_that_of_the_loss_and_does_not_change_its_inputs(script):
    forms = script("_loss_forms")
    logits, mask = torch.tensor([[0.0, 2.0]], dtype=torch.float64), torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    for loss in (losses.BCELoss(), losses.CELoss()):
        value, gradient = forms.slope(loss, logits, mask)
        assert value == pytest.approx((math.log(2) + math.log1p(math.exp(2))) / 2)
        assert gradient.tolist() == [pytest.approx([-0.25, sigmoid(2) / 2])]
    assert not logits.requires_grad


def test_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (recipe,) = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)
    Path("recipe.toml").write_text(recipe, encoding="utf-8")
    alone, first, second = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    names = {}
    exec(compile(alone, "losses.md", "exec"), names)
    logits = names["logits"].requires_grad_()
    (whole,) = torch.autograd.grad(losses.dice_loss(logits, names["masks"], reduction="sum"), logits)
    torch.testing.assert_close(names["gradients"], whole)
    exec(compile(first, "losses.md", "exec"), names)
    logits, masks = names["logits"], names["masks"]
    hinge = losses.lovasz_hinge(logits, masks, margin="elu", symmetric=True)
    assert names["each"].shape == (2,)
    assert names["total"].item() == pytest.approx((hinge + 0.2 * losses.bce_loss(logits, masks)).item())
    exec(compile(second, "losses.md", "exec"), names)
    assert names["loss"](logits, masks).item() == pytest.approx(names["total"].item())
    assert names["loss"].map_weight == tomllib.loads(recipe)["loss"]["map_weight"]


def test_only_drawing_needs_matplotlib(script, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert script("make_losses").page() == PAGE
    with pytest.raises(ImportError, match="pip install matplotlib"):
        script("_loss_pictures").draw([], tmp_path)


@pytest.mark.parametrize(("options", "calls"), [([], 1), (["--check"], 0)])
def test_a_check_draws_nothing(script, tmp_path, monkeypatch, options, calls):
    done = []
    (tmp_path / "losses.md").write_text("new\n")
    monkeypatch.setattr(sys, "argv", ["make_losses.py", *options])
    status = script("_page").write_or_check({tmp_path / "losses.md": lambda: "new\n"}, "words", lambda: done.append(1))
    assert (status, len(done)) == (0, calls)


def test_every_metric_has_a_row():
    found = {cells[0].strip("`"): cells[1].strip("`") for cells in rows("## Metrics")}
    functions = {name for name in metrics.__all__ if hasattr(getattr(metrics, name), "__code__")}
    assert functions - set(found) == {"confusion_scores", "shift_probabilities"}
    assert {name for name in metrics.__all__ if hasattr(getattr(metrics, name), "update")} == set(found.values())
