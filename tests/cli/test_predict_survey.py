"""`saltzoo predict` for surveys: values line by line, headers, files, and exit statuses."""

import json
import os
from functools import partial

import numpy as np
import pytest
import segyio
import torch
import xarray
from _segy_files import grid_words, keep, write_segy
from torch import nn

from saltzoo import Preprocess, predict_tiled
from saltzoo.cli import loading, main, progress, slabs, survey_space
from saltzoo.cli.assembling import mean_of_logits
from saltzoo.cli.segmenting import Prediction
from saltzoo.cli.survey import segment_survey
from saltzoo.cli.survey_plan import Plan, parse_lines
from saltzoo.data import make_survey
from saltzoo.seismic import open_survey, write_like

INLINES, CROSSLINES, SAMPLES = range(100, 114, 2), range(20, 29), 48
SHAPE = (len(INLINES), len(CROSSLINES), SAMPLES)
INLINES_X_CROSSLINES = SHAPE[0] * SHAPE[1]
LOST, DEAD, FLAT = [3, 17, 18, 40], 12, 30
AMPLITUDES = 50 * make_survey(SHAPE, seed=4)[0] + 7
OPTIONS = {"tile": 32, "overlap": 0.25}


class Network(nn.Sequential):
    """A small convolutional network with a receptive radius of 3."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(nn.Conv2d(1, 4, 7, padding=3), nn.Tanh(), nn.Conv2d(4, 1, 1))
        for parameter in self.parameters():
            parameter.data *= 4
        self.preprocess = Preprocess(mean=(0.47,), std=(0.16,))
        self.threshold = 0.4


@pytest.fixture
def model(monkeypatch):
    network = Network()
    monkeypatch.setattr(loading, "load_model", lambda name, device=None, fast=False: network)
    return network


def write_survey(path, **options):
    """Write a survey with missing traces, a dead one, and one that is 0; return its trace headers and places."""
    words, values = grid_words(INLINES, CROSSLINES), AMPLITUDES.reshape(-1, SAMPLES).copy()
    values[FLAT] = 0
    words[29] = np.where(np.arange(len(values)) == DEAD, 2, 1)
    there = np.delete(np.arange(len(values)), LOST)
    words, values = keep(words, values, there)
    return write_segy(path, values if options.get("code", 5) == 5 else np.rint(values), words, **options), there


def run(capsys, *words):
    status = main(["predict", *map(str, words), "--model", "none.here", "--device", "cpu"])
    done = capsys.readouterr()
    return status, done.out, done.err


def by_hand(model, survey, direction, **options):
    """Probabilities line by line with predict_tiled, (inline, crossline, sample), NaN without an answer."""
    values, statistics = survey[:], survey.robust_statistics()
    scaling = (statistics.median, statistics.deviation)
    sections = values if direction == "inline" else values.transpose(1, 0, 2)
    found = np.stack([predict_tiled(model, line.T, normalize=scaling, **OPTIONS | options).T for line in sections])
    return found if direction == "inline" else found.transpose(1, 0, 2)


def joined(first, second):
    """Mean of logits, as its definition says, in double precision."""
    logits = [np.log(p.astype(np.float64) / (1 - p.astype(np.float64))) for p in (first, second)]
    return 1 / (1 + np.exp(-(logits[0] + logits[1]) / 2))


def read(path):
    """Samples of a volume, NaN where no trace is live."""
    return open_survey(path)[:]


@pytest.mark.parametrize("slab", [1, 3, 100])
@pytest.mark.parametrize("direction", ["inline", "crossline", "both"])
def test_values_are_those_of_predict_tiled_on_each_line(tmp_path, model, monkeypatch, direction, slab):
    write_survey(tmp_path / "a.sgy")
    survey = open_survey(tmp_path / "a.sgy")
    monkeypatch.setattr(type(survey.source), "slab_size", lambda source: slab)
    monkeypatch.setattr(slabs, "_SAMPLES", slab * SHAPE[0] * SAMPLES)
    inline, across = (by_hand(model, survey, one) for one in ("inline", "crossline"))
    expected = {"inline": inline, "crossline": across, "both": joined(inline, across)}[direction]
    assert np.isnan(expected).sum() == (len(LOST) + 2) * SAMPLES
    assert np.abs(inline - across)[~np.isnan(inline)].max() > 0.1
    directions = ("inline", "crossline") if direction == "both" else (direction,)
    spread = tmp_path / "d.sgy" if direction == "both" else None
    calls = []
    found = segment_survey(
        model,
        survey,
        tmp_path / "b.sgy",
        directions=directions,
        disagreement=spread,
        prediction=Prediction(**OPTIONS),
        progress=lambda done, count: calls.append((done, count)),
    )
    written, live = read(tmp_path / "b.sgy"), survey.live
    np.testing.assert_array_equal(np.isnan(written).all(2), ~live)
    np.testing.assert_allclose(written[live], np.nan_to_num(expected)[live], atol=1e-6)
    if spread:
        np.testing.assert_allclose(read(spread)[live], np.nan_to_num(np.abs(inline - across) / 2)[live], atol=1e-6)
    lines = {"inline": SHAPE[0], "crossline": SHAPE[1], "both": SHAPE[0] + SHAPE[1]}[direction]
    assert calls == [(k + 1, lines) for k in range(lines)]
    assert found["salt"] == pytest.approx((expected > 0.4)[~np.isnan(expected)].mean())
    assert sorted(os.listdir(tmp_path)) == sorted(["a.sgy", "b.json", "b.sgy"] + ["d.sgy"] * bool(spread))


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("little", [False, True])
@pytest.mark.parametrize("code", [1, 2, 3, 5, 8])
def test_headers_are_those_of_the_survey(capsys, tmp_path, model, monkeypatch, code, little, mask):
    monkeypatch.setattr(slabs, "predict_tiled", lambda model, picture, **how: np.full(picture.shape, 0.75, np.float32))
    headers, there = write_survey(tmp_path / "a.sgy", code=code, little=little)
    words = [tmp_path / "a.sgy", "--out", tmp_path / "b.sgy", *(["--mask"] if mask else [])]
    status, out, err = run(capsys, *words)
    assert (status, err) == (0, "")
    assert out == f"{tmp_path / 'a.sgy'}: 7 lines, 100.0% salt -> {tmp_path / 'b.sgy'}, {tmp_path / 'b.json'}\n"
    record = np.dtype([("header", "u1", 240), ("samples", f"V{SAMPLES * (1 if mask else 4)}")])
    np.testing.assert_array_equal(np.fromfile(tmp_path / "b.sgy", record, offset=3600)["header"], headers)
    with segyio.open(tmp_path / "b.sgy", ignore_geometry=True, endian="little" if little else "big") as file:
        assert int(file.format) == (8 if mask else 5)
        expected = np.where(there == DEAD, 0, 1 if mask else 0.75)[:, None] * np.ones(SAMPLES)
        np.testing.assert_array_equal(file.trace.raw[:], expected)


@pytest.mark.parametrize("source", ["a.sgy", "a.zarr"])
def test_zarr_has_the_grid_of_the_survey_and_nan_without_a_trace(capsys, tmp_path, model, source):
    write_survey(tmp_path / "a.sgy")
    survey = open_survey(tmp_path / "a.sgy")
    write_like(survey, tmp_path / "a.zarr", survey, name="amplitude")
    words = [tmp_path / source, "--out", tmp_path / "b.zarr", "--tile", 32, "--overlap", 0.25]
    assert run(capsys, *words, "--direction", "both", "--disagreement", tmp_path / "d.zarr")[::2] == (0, "")
    survey = open_survey(tmp_path / source)
    maps = [by_hand(model, survey, one) for one in ("inline", "crossline")]
    found, spread = (xarray.open_zarr(tmp_path / name, consolidated=False) for name in ("b.zarr", "d.zarr"))
    np.testing.assert_allclose(found["probability"].values, joined(*maps), atol=1e-6)
    np.testing.assert_allclose(spread["disagreement"].values, np.abs(maps[0] - maps[1]) / 2, atol=1e-6)
    assert found["inline"].values.tolist() == list(INLINES)
    assert found["crossline"].values.tolist() == list(CROSSLINES)


@pytest.mark.parametrize(
    ("direction", "lines", "chosen"),
    [
        ("inline", "102:110:4", [1, 3, 5]),
        ("inline", "104", [2]),
        ("inline", ":101", [0]),
        ("crossline", "26:", [6, 7, 8]),
        ("crossline", "21:24:3", [1, 4]),
    ],
)
def test_only_the_chosen_lines_are_segmented(capsys, tmp_path, model, direction, lines, chosen):
    write_survey(tmp_path / "a.sgy")
    words = [tmp_path / "a.sgy", "--out", tmp_path / "b.zarr", "--tile", 32, "--overlap", 0.25]
    status, out, _ = run(capsys, *words, "--direction", direction, "--lines", lines, "--json")
    assert (status, json.loads(out)["lines"]) == (0, len(chosen))
    axis = 0 if direction == "inline" else 1
    others = [k for k in range(SHAPE[axis]) if k not in chosen]
    expected = by_hand(model, open_survey(tmp_path / "a.sgy"), direction)
    expected[(slice(None),) * axis + (others,)] = np.nan
    np.testing.assert_array_equal(read(tmp_path / "b.zarr"), expected)


@pytest.mark.parametrize("direction", ["inline", "crossline"])
def test_traces_of_zeros_count_as_dead(tmp_path, model, direction):
    """Zeros and other constants: no part of the statistics, no effect on the others, and 0 or NaN in the result."""
    words, values = grid_words(INLINES, CROSSLINES), AMPLITUDES.reshape(-1, SAMPLES).copy()
    values[[4, 5, 33]] = 0
    values[50] = 7
    flat = (values == values[:, :1]).all(1)
    write_segy(tmp_path / "flat.sgy", values, words)
    words[29] = np.where(flat, 2, 1)
    write_segy(tmp_path / "dead.sgy", np.where(flat[:, None], 1e6, values), words)
    written = {}
    for name in ("flat", "dead"):
        survey = open_survey(tmp_path / f"{name}.sgy")
        for out in (f"{name}_salt.sgy", f"{name}_salt.zarr"):
            segment_survey(
                model, survey, tmp_path / out, directions=(direction,), prediction=Prediction(**OPTIONS), overwrite=True
            )
            written[out] = open_survey(tmp_path / out)[:].reshape(-1, SAMPLES)
    assert open_survey(tmp_path / "flat.sgy").robust_statistics() == survey.robust_statistics()
    assert flat.sum() == 4
    assert (written["flat_salt.sgy"][flat] == 0).all()
    assert np.isnan(written["flat_salt.zarr"][flat]).all()
    for suffix in ("sgy", "zarr"):
        found, expected = written[f"flat_salt.{suffix}"][~flat], written[f"dead_salt.{suffix}"][~flat]
        np.testing.assert_array_equal(found, expected)
        assert found.min() > 0


def test_notes_and_the_file_beside_the_volume_tell_how_it_was_made(capsys, tmp_path, model):
    write_survey(tmp_path / "a.sgy")
    statistics = open_survey(tmp_path / "a.sgy").robust_statistics()
    options = ["--tile", 40, "--overlap", 0.25, "--scale", 2, 0.5, "--polarity", -1, "--tta", "hflip"]
    status, out, _ = run(
        capsys, tmp_path / "a.sgy", "--out", tmp_path / "b.sgy", *options, "--threshold", 0.7, "--json"
    )
    found = json.loads(out)
    assert status == 0
    assert json.loads((tmp_path / "b.json").read_bytes()) == found
    assert (found["amplitudes"]["median"], found["amplitudes"]["deviation"]) == (
        statistics.median,
        statistics.deviation,
    )
    how = {"tta": "hflip", "tile": 40, "overlap": 0.25, "batch_size": 16, "scale": [2.0, 0.5], "polarity": -1}
    assert (found["prediction"], found["threshold"], found["model"]) == (how, 0.7, "none.here")
    with segyio.open(tmp_path / "b.sgy", ignore_geometry=True) as file:
        text = bytes(file.text[0]).decode()
    assert f"median {statistics.median:.6g}, robust deviation {statistics.deviation:.6g}" in text
    assert "Tile 40, overlap 0.25, scale 2 0.5, polarity -1, tta hflip" in text
    assert "a survey" in text
    how |= {"scale": (2.0, 0.5)}
    expected = by_hand(model, open_survey(tmp_path / "a.sgy"), "inline", **how)
    written = read(tmp_path / "b.sgy")
    live = ~np.isnan(written)
    np.testing.assert_array_equal(written[live], np.nan_to_num(expected)[live])
    assert found["salt"] == pytest.approx((expected > 0.7)[~np.isnan(expected)].mean())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["b.sgy", "--lines", "5:1"], "lines must hold one of the inlines 100 to 112, got 5:1:1"),
        (["b.sgy", "--lines", "1:2:0"], "lines must be FIRST:LAST"),
        (["b.sgy", "--lines", "104", "--direction", "both"], "lines must be of one direction"),
        (["b.sgy", "--disagreement", "d.sgy"], "disagreement is that of both directions, got inline only"),
        (["b.sgy", "--disagreement", "b.sgy", "--direction", "both"], "disagreement must differ from the volume"),
        (["b.sgy", "--disagreement", "d.tif", "--direction", "both"], "path must end with .sgy, .segy, .zarr"),
        (["b.sgy", "--overlay"], "--overlay is of pictures"),
        (["b.sgy", "--min-size", "3"], "--min-size is of pictures"),
        (["b.sgy", "--normalize", "image"], "--normalize is survey for a survey"),
        (["b.sgy", "--iline", "5"], "iline"),
        (["a.sgy", "--overwrite"], "path must differ from the survey's"),
        (["there.sgy"], "there.sgy is there already"),
        (["folder"], "--out must end with .sgy, .segy, .zarr for a.sgy, got 'folder'"),
    ],
)
def test_a_wrong_command_line_is_status_2_and_writes_nothing(capsys, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    write_survey("a.sgy")
    (tmp_path / "there.sgy").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    status, _, err = run(capsys, "a.sgy", "--out", *words)
    assert message in " ".join(err.split())
    assert status == 2
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_other_refusals(capsys, tmp_path):
    write_survey(tmp_path / "a.sgy")
    assert run(capsys, tmp_path / "none.sgy", "--out", tmp_path / "b.sgy")[0] == 2
    status, _, err = run(capsys, tmp_path / "a.sgy", tmp_path / "a.sgy", "--out", tmp_path / "b.sgy")
    assert (status, "is the volume of one survey, got 2 inputs" in " ".join(err.split())) == (2, True)
    (tmp_path / "broken.sgy").write_bytes((tmp_path / "a.sgy").read_bytes()[:-1])
    assert run(capsys, tmp_path / "broken.sgy", "--out", tmp_path / "b.sgy")[0] == 2
    status, _, err = run(capsys, tmp_path / "a.png", "--out", tmp_path / "out", "--direction", "both")
    assert (status, "--direction is of surveys" in err) == (2, True)
    write_segy(tmp_path / "line.sgy", AMPLITUDES[0], grid_words([5], CROSSLINES))
    line = open_survey(tmp_path / "line.sgy")
    with pytest.raises(ValueError, match="direction must be inline for a survey of one inline"):
        Plan(line, tmp_path / "b.sgy", ("inline", "crossline")).check()
    assert sorted(os.listdir(tmp_path)) == ["a.sgy", "broken.sgy", "line.sgy"]


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (RuntimeError("out of memory"), 1, "Error: out of memory"),
    ],
)
@pytest.mark.parametrize("call", [0, 10])
def test_a_stop_leaves_only_what_was_there(capsys, tmp_path, model, monkeypatch, error, status, told, call):
    write_survey(tmp_path / "a.sgy")
    (tmp_path / "b.sgy").write_text("mine")
    calls = iter(range(100))

    def stopped(model, picture, **how):
        assert (tmp_path / "b.sgy").read_text() == "mine"
        assert not (tmp_path / "d.sgy").exists()
        if next(calls) == call:
            raise error
        return np.zeros(picture.shape, np.float32)

    monkeypatch.setattr(slabs, "predict_tiled", stopped)
    words = [tmp_path / "a.sgy", "--out", tmp_path / "b.sgy", "--direction", "both", "--overwrite"]
    found = run(capsys, *words, "--disagreement", tmp_path / "d.sgy")
    assert found[0] == status
    assert told in found[2]
    # After ten lines, the block of crosslines is finished, and waits.
    assert sorted(os.listdir(tmp_path)) == [".b.sgy.parts"] * (call > 0) + ["a.sgy", "b.sgy"]
    assert ("--resume" in found[2]) == (call > 0)
    assert (tmp_path / "b.sgy").read_text() == "mine"


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("directions", [("inline",), ("inline", "crossline")])
def test_too_little_space_is_told_before_any_line(tmp_path, model, monkeypatch, directions, mask):
    write_survey(tmp_path / "a.sgy")
    traces, cells = INLINES_X_CROSSLINES - len(LOST), INLINES_X_CROSSLINES
    needed = 3600 + traces * (240 + (1 if mask else 4) * SAMPLES) + 4 * cells * SAMPLES * len(directions)
    free = needed - 1
    monkeypatch.setattr(survey_space.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": free}))
    monkeypatch.setattr(slabs, "predict_tiled", None)
    segment = partial(segment_survey, model, open_survey(tmp_path / "a.sgy"), tmp_path / "b.sgy")
    with pytest.raises(OSError, match="GiB free for the volume and its slabs"):
        segment(directions=directions, mask=mask)
    assert os.listdir(tmp_path) == ["a.sgy"]
    free += 1
    monkeypatch.setattr(slabs, "predict_tiled", lambda model, picture, **how: np.zeros(picture.shape, np.float32))
    segment(directions=directions, mask=mask)
    assert (tmp_path / "b.sgy").stat().st_size == needed - 4 * cells * SAMPLES * len(directions)


def test_logits_of_sure_maps_are_finite():
    sure, unsure = np.float32([0, 1, 1, np.nan]), np.float32([0, 1, 0, 0.5])
    found = mean_of_logits(sure, unsure)
    np.testing.assert_allclose(found[:3], [0, 1, 0.5], atol=0.05)
    assert np.isnan(found[3])


@pytest.mark.parametrize("text", ["", "a", "1:2:3:4", "1-2", "1:2:-1", "1:2:0"])
def test_other_forms_of_lines_are_refused(text):
    with pytest.raises(ValueError, match=r"lines must be FIRST:LAST, .* got "):
        parse_lines(text)


def test_progress_without_a_terminal_is_a_line_a_minute_with_an_estimate(capsys, monkeypatch):
    times = iter([0.0, 30.0, 61.0, 90.0, 122.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    monkeypatch.setattr(progress, "_is_terminal", lambda: False)
    with progress.counter(unit="line") as tell:
        for finished in (5, 10, 15, 20):
            tell(finished, 100)
    assert capsys.readouterr().err.splitlines() == [
        "10 of 100 lines, about 9 min left",
        "20 of 100 lines, about 8 min left",
    ]
