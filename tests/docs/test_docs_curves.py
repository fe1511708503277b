"""Curves of the page of losses are correct, and its pictures show them."""

import importlib
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reference" / "losses.md").read_text(encoding="utf-8")
SVG = "{http://www.w3.org/2000/svg}"
NAMES = ("pixel", "certainty", "size", "empty")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.fixture(scope="module")
def script():
    """Return a function that imports a module of docs as its scripts do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        yield importlib.import_module


@pytest.fixture(scope="module")
def drawn(script):
    return {picture.name: picture.panels for picture in script("_loss_curves").pictures()}


def test_curves_of_a_pixel_have_closed_forms(drawn):
    values, pulls = (panel.curves for panel in drawn["pixel"])
    assert set(values) == set(pulls)
    for label, points in values.items():
        x, found = np.array(points).T
        wrong = sigmoid(-x)
        if label == "BCE":
            loss, pull = np.logaddexp(0, -x), wrong
        elif label.startswith("focal"):
            gamma = float(label[-1])
            loss = wrong**gamma * np.logaddexp(0, -x)
            pull = wrong**gamma * (wrong + gamma * (1 - wrong) * np.logaddexp(0, -x))
        else:
            fade = np.exp(np.minimum(1 - x, 0)) if label.endswith("elu") and "relu" not in label else 1.0 * (x < 1)
            loss = np.where(x < 1, 1 - x + (0 if "relu" in label else 1), fade * ("relu" not in label))
            pull = fade
        np.testing.assert_allclose(found, loss, atol=1e-9)
        np.testing.assert_allclose(np.array(pulls[label])[x != 1, 1], np.asarray(pull)[x != 1], atol=1e-9)


@pytest.mark.parametrize(
    ("label", "alpha", "beta", "smooth"),
    [("Dice", 0.5, 0.5, 0.5), ("Jaccard", 1, 1, 1), ("Tversky .3, .7", 0.3, 0.7, 1)],
)
@pytest.mark.parametrize("name", ["certainty", "size"])
def test_curves_of_overlaps_have_closed_forms(script, drawn, name, label, alpha, beta, smooth):
    curves = script("_loss_curves")
    mask = curves.disc().numpy()
    assert mask.sum() == pytest.approx(math.pi * 10**2, rel=0.02)
    for x, found in drawn[name][0].curves[label][::9]:
        logits = x * (2 * mask - 1) if name == "certainty" else curves.predicted_disc(x).numpy()
        share = sigmoid(logits)
        hits, alarms, misses = (share * mask).sum(), (share * (1 - mask)).sum(), ((1 - share) * mask).sum()
        assert found == pytest.approx(1 - (hits + smooth) / (hits + alpha * alarms + beta * misses + smooth))


def test_gradients_are_those_of_the_curves_of_loss(drawn):
    values, pulls = (panel.curves for panel in drawn["certainty"])
    for label, points in values.items():
        x, loss = np.array(points).T
        middle = (np.array(pulls[label])[1:, 1] + np.array(pulls[label])[:-1, 1]) / 2
        kink = (x[1:] > 0.8) & (x[:-1] < 1.2)
        np.testing.assert_allclose(-(np.diff(loss) / np.diff(x))[~kink], middle[~kink], atol=1e-3)


def test_statements_about_curves_hold(drawn):
    image, empty = (dict(drawn["size"][0].curves), drawn["empty"][1].curves)
    for (radius, dice), (_, tversky) in zip(image["Dice"], image["Tversky .3, .7"], strict=True):
        assert (tversky < dice) == (radius > 10) or abs(radius - 10) < 1
    assert all(min(loss for _, loss in points) > 0 for points in image.values())
    pulls = {label: dict(points) for label, points in drawn["certainty"][1].curves.items()}
    assert all(pulls[label][-4] < 0.02 for label in ("Dice", "Jaccard", "Tversky .3, .7"))
    assert pulls["BCE"][-4] > pulls["BCE"][0] > pulls["BCE"][1]
    assert pulls["Lovász hinge, relu"][-4] == pytest.approx(1) == pulls["Lovász hinge, relu"][0]
    assert not empty["Dice, skip"]
    assert not empty["Lovász hinge, relu"]
    smooth = dict(empty["Dice, smooth"])
    assert smooth[-8] > 100 * smooth[-1] > 100 * smooth[0] > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_shows_its_curves(script, drawn, name):
    tree = ET.parse(DOCS / "pictures" / f"{name}.svg")
    text = {"".join(element.itertext()) for element in tree.iter(f"{SVG}text")}
    for number, panel in enumerate(drawn[name]):
        assert {panel.title, panel.across, panel.up, *panel.curves} <= text
        shown, sought = [], []
        for label, points in panel.curves.items():
            (group,) = tree.findall(f".//{SVG}g[@id='{script('_loss_pictures').line_id(number, label)}']")
            path = group.find(f"{SVG}path")
            places = [] if path is None else re.findall(r"[ML] (\S+) (\S+)", path.get("d"))
            assert len(places) == len(points), label
            shown += places
            sought += [(x, math.log10(y) if panel.log else y) for x, y in points]
        for place, value in zip(np.array(shown, float).T, np.array(sought).T, strict=True):  # across, then up
            scale = np.stack([value, np.ones_like(value)], 1)
            fitted = scale @ np.linalg.lstsq(scale, place, rcond=None)[0]
            np.testing.assert_allclose(place, fitted, atol=0.01)  # points of the picture
            assert np.ptp(place) > 150


def test_pictures_are_small_and_all_on_the_page(drawn):
    sizes = {path.stem: path.stat().st_size for path in (DOCS / "pictures").glob("*.svg")}
    for name in ("training", "choice", "training_step"):  # on the pages of weights and of performance
        sizes.pop(name)
    assert set(sizes) == set(drawn) == set(NAMES)
    assert max(sizes.values()) < 60_000
    assert sum(sizes.values()) < 300_000
    assert re.findall(r"!\[[^\]]{20,}\]\(\.\./pictures/(\w+)\.svg\)", PAGE) == list(NAMES)


def test_no_two_curves_of_a_picture_look_alike(script, drawn):
    styles = script("_loss_pictures").STYLES
    for first, second in drawn.values():
        looks = [styles[label] for label in first.curves]
        assert len(set(looks)) == len(looks)
        assert first.curves.keys() == second.curves.keys()


def test_pictures_are_drawn_the_same_again(script, drawn, tmp_path):
    pytest.importorskip("matplotlib")
    curves, pictures = script("_loss_curves"), script("_loss_pictures")
    picture = curves.Picture("empty", drawn["empty"])
    pictures.draw([picture], tmp_path / "one")
    pictures.draw([picture], tmp_path / "two")
    first, second = ((tmp_path / folder / "empty.svg").read_bytes() for folder in ("one", "two"))
    assert first == second
    assert b"Matplotlib v" not in first
