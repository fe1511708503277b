"""adapt: crops as predict_tiled shows them, early stopping, what is written when, and a real gain on a new survey."""

import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
import zarr
from torch import nn

import saltzoo
from saltzoo import Preprocess, predict_tiled
from saltzoo.cli import main
from saltzoo.data import SyntheticSurvey, make_survey
from saltzoo.inference.canvas import network_view
from saltzoo.seismic import LabelledLine, open_survey, write_mask
from saltzoo.training import adapt, adapt_rounds, survey_lines
from saltzoo.training.crops import Crops
from saltzoo.training.survey_lines import SurveyLines

SHAPE = (5, 40, 48)
AMPLITUDES, SALT = make_survey(SHAPE, seed=4)
QUICK = {"rounds": 1, "crops": 2, "batch_size": 2}


def write_zarr(path, amplitudes):
    names = ("inline", "crossline", "sample")
    array = zarr.create_array(str(path), shape=amplitudes.shape, dtype="f4", dimension_names=names)
    array[:] = amplitudes
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a survey, masks of three lines, and a small model to start from."""
    folder = tmp_path_factory.mktemp("adapt")
    write_zarr(folder / "cube.zarr", AMPLITUDES)
    for number in (1, 2, 3):
        write_mask(folder / "picked" / f"inline_{number}.png", SALT[number].T)
    torch.manual_seed(0)
    model = saltzoo.create_model("unet", encoder="test_resnet", decoder_channels=[8, 8, 8, 8, 8])
    saltzoo.save_pretrained(model, folder / "start", license="cc-by-nc-4.0", threshold=0.4)
    return folder


def start(place, **options):
    return {"model": f"local-dir:{place / 'start'}", "tell": lambda line: None, **QUICK, **options}


def run(place, out, **options):
    return adapt(place / "cube.zarr", place / "picked", out, **start(place, **options))


def scripted(monkeypatch, *scores):
    """Let the held line give these scores, the start's first; return the weights that were scored."""
    seen, left = [], iter(scores)

    def iou(view, model, line):
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        score = next(left)
        if score is None:
            raise KeyboardInterrupt
        return score

    monkeypatch.setattr(SurveyLines, "iou", iou)
    return seen


def tensors(folder):
    return saltzoo.create_model(f"local-dir:{folder}").state_dict()


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


class Recorder(nn.Module):
    """A network that keeps what it is shown."""

    def __init__(self):
        super().__init__()
        self.preprocess, self.shown = Preprocess(mean=(0.0,), std=(1.0,)), []

    def forward(self, x):
        self.shown.append(x[:, 0])
        return x


@pytest.mark.parametrize("polarity", [1, -1])
@pytest.mark.parametrize(("shape", "scale"), [((40, 32), (1.0, 1.0)), ((48, 30), (0.6, 0.9)), ((20, 13), (2.0, 2.4))])
def test_the_view_is_what_predict_tiled_shows(shape, scale, polarity):
    picture = np.random.default_rng(0).normal(3, 50, shape).astype(np.float32)
    picture[:, 4], picture[:, 7] = np.nan, 5
    options = {"normalize": (3.0, 40.0), "polarity": polarity, "scale": scale, "tile": (40, 32)}
    recorder = Recorder()
    predict_tiled(recorder, picture, overlap=0, **options)
    view, labels = network_view(picture, np.zeros(shape, bool), unknown=255, **options)
    assert view.shape == labels.shape == (40, 32)
    np.testing.assert_allclose(view / 255, recorder.shown[0][0], atol=0.501 / 255)
    assert 0.04 < (labels == 255).mean() < 0.4


def test_labels_follow_the_picture():
    mask = np.random.default_rng(1).random((20, 30)) > 0.5
    picture = mask.astype(np.float32)
    picture[:, 3] = 0  # a dead trace
    options = {"tile": (20, 20), "normalize": (0.5, 1.0), "polarity": 1, "unknown": 255}
    expected = np.where(np.arange(30) == 3, 255, mask)
    np.testing.assert_array_equal(network_view(picture, mask, scale=(1, 1), **options)[1], expected)
    np.testing.assert_array_equal(
        network_view(picture, mask, scale=(2, 3), **options)[1], expected.repeat(2, 0).repeat(3, 1)
    )


def test_crops_are_parts_of_the_pictures_and_half_hold_salt():
    rng = np.random.default_rng(2)
    pictures = [rng.integers(256, size=shape, dtype=np.uint8) for shape in ((30, 50), (25, 16))]
    labels = [np.zeros(picture.shape, np.uint8) for picture in pictures]
    labels[0][29, 49] = 1  # in a corner, where no random crop is likely to be
    tiles = Crops(list(zip(pictures, labels, strict=True)), (16, 12)).draw(200, rng)
    windows = {
        window.tobytes(): labelled.tobytes()
        for picture, label in zip(pictures, labels, strict=True)
        for window, labelled in zip(
            *(np.lib.stride_tricks.sliding_window_view(one, (16, 12)).reshape(-1, 192) for one in (picture, label)),
            strict=True,
        )
    }
    assert tiles.images.shape == (200, 16, 12)
    for image, mask in zip(tiles.images, tiles.masks, strict=True):
        assert windows[image.tobytes()] == mask.tobytes()
    assert 0.5 <= (tiles.coverage > 0).mean() < 0.55
    assert len({image.tobytes() for image in tiles.images}) > 90


def test_training_stops_when_the_held_line_gets_no_better(place, tmp_path, monkeypatch):
    seen = scripted(monkeypatch, 0.5, 0.4, 0.6, 0.6, 0.3, 0.59, 0.9)
    lines = []
    found = run(place, tmp_path / "m", rounds=20, patience=3, tell=lines.append)
    assert found == {
        "out": str(tmp_path / "m"),
        "held": "inline 3",
        "lines": ["inline 1", "inline 2"],
        "iou_before": 0.5,
        "iou": 0.6,
        "round": 2,
        "rounds": 5,
    }
    assert same(seen[2], tensors(tmp_path / "m"))
    assert not same(seen[0], seen[1])
    assert not same(seen[2], seen[3])
    assert len(lines) == 6
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert (config["license"], config["threshold"]) == ("cc-by-nc-4.0", 0.4)
    assert [(one["name"], one["value"], one["held_line"]) for one in config["metrics"]] == [
        ("iou", 0.6, "inline 3"),
        ("iou_before", 0.5, "inline 3"),
    ]
    assert config["survey"]["name"] == "cube.zarr"
    median, deviation = np.median(AMPLITUDES), 1.4826 * np.median(abs(AMPLITUDES - np.median(AMPLITUDES)))
    assert (config["survey"]["median"], config["survey"]["deviation"]) == pytest.approx((median, deviation), abs=1e-5)
    assert "| iou_before | 0.5000 | data cube.zarr, held_line inline 3" in (tmp_path / "m" / "README.md").read_text()


def test_the_start_is_kept_if_no_round_is_better(place, tmp_path, monkeypatch, capsys):
    scripted(monkeypatch, 0.5, 0.5, 0.4)
    options = ["--model", f"local-dir:{place / 'start'}", "--crops", "2", "--batch-size", "2", "--patience", "2"]
    words = [
        "adapt",
        str(place / "cube.zarr"),
        "--lines",
        str(place / "picked"),
        "--out",
        str(tmp_path / "m"),
        *options,
    ]
    assert main([*words, "--held", "inline_0002", "--device", "cpu"]) == 0
    assert same(tensors(place / "start"), tensors(tmp_path / "m"))
    assert "no round was better than the start (0.500 -> 0.500 on the held inline 2)" in capsys.readouterr().out


def test_an_interruption_leaves_the_best_round_or_nothing(place, tmp_path, monkeypatch):
    seen = scripted(monkeypatch, 0.5, 0.6, 0.4, None)
    with pytest.raises(KeyboardInterrupt, match=r"holds round 1, IoU 0\.600 on inline 3"):
        run(place, tmp_path / "m", rounds=9)
    assert same(seen[1], tensors(tmp_path / "m"))
    scripted(monkeypatch, 0.5, 0.5, None)
    with pytest.raises(KeyboardInterrupt, match="nothing was written"):
        run(place, tmp_path / "n", rounds=9)
    scripted(monkeypatch, None)
    with pytest.raises(KeyboardInterrupt):
        run(place, tmp_path / "n")
    assert os.listdir(tmp_path) == ["m"]


def test_the_score_is_the_iou_of_the_whole_line(place):
    survey = open_survey(place / "cube.zarr")
    model = saltzoo.create_model(f"local-dir:{place / 'start'}")
    median = float(np.median(AMPLITUDES))
    deviation = 1.4826 * float(np.median(abs(AMPLITUDES - median)))
    found = predict_tiled(model, AMPLITUDES[2].T, normalize=(median, deviation)) > 0.4
    truth = SALT[2].T
    expected = (found & truth).sum() / (found | truth).sum()
    assert 0 < expected < 1
    view = SurveyLines.of(survey, polarity=1, scale=(1.0, 1.0), tile=(101, 101))
    assert view.iou(model, LabelledLine("inline", 2, truth)) == pytest.approx(expected, abs=2e-3)


def test_the_told_score_is_that_of_predict_with_the_checkpoint(place, tmp_path):
    start_model = saltzoo.create_model(f"local-dir:{place / 'start'}")
    statistics = open_survey(place / "cube.zarr").robust_statistics()
    scaled = {"normalize": (statistics.median, statistics.deviation)}
    probabilities = predict_tiled(start_model, AMPLITUDES[3].T, **scaled)
    threshold = float(np.quantile(probabilities, 0.8))
    assert ((probabilities > threshold) != (probabilities > 0.5)).mean() > 0.1
    saltzoo.save_pretrained(start_model, tmp_path / "start", license="cc-by-nc-4.0", threshold=threshold)
    found = run(place, tmp_path / "m", model=f"local-dir:{tmp_path / 'start'}", crops=32, rounds=2, lr=1e-4)
    assert found["round"]
    words = ["predict", place / "cube.zarr", "--model", f"local-dir:{tmp_path / 'm'}", "--out", tmp_path / "salt.zarr"]
    assert main([*map(str, words), "--mask", "--lines", "3", "--device", "cpu"]) == 0
    mask = open_survey(tmp_path / "salt.zarr").line("inline", 3) > 0
    assert found["iou"] == pytest.approx((mask & SALT[3].T).sum() / (mask | SALT[3].T).sum(), abs=2e-3)


# The threshold is .4: the score of .45 is above it.
@pytest.mark.parametrize("scores", [(0.3, 0.6), (0.6, 0.3), (0.3, 0.45)])
def test_crops_and_scores_have_the_tiles_of_the_model(place, tmp_path, monkeypatch, scores):
    model = saltzoo.create_model(f"local-dir:{place / 'start'}")
    saltzoo.save_pretrained(model, tmp_path / "other", license="cc-by-nc-4.0", tile_size=(64, 96))
    drawn, tiles, left = [], [], iter(scores)

    def trained(trainer, recipe, pool, **options):
        drawn.append(pool.images.shape)
        create(trainer, recipe, pool, **options)

    def predicted(model, picture, *, tile, **options):
        tiles.append(tile)
        found = np.zeros(picture.shape, np.float32)
        found[np.nonzero(SALT[3].T)] = next(left)  # above or at the threshold
        return found

    create = adapt_rounds.Trainer.__init__
    monkeypatch.setattr(adapt_rounds.Trainer, "__init__", trained)
    monkeypatch.setattr(survey_lines, "predict_tiled", predicted)
    found = run(place, tmp_path / "m", model=f"local-dir:{tmp_path / 'other'}")
    assert found["round"] == int(scores[1] > scores[0])
    assert (drawn, tiles) == ([(2, 64, 96)], [(64, 96)] * 2)
    assert saltzoo.create_model(f"local-dir:{tmp_path / 'm'}").tile_size == (64, 96)


def test_predict_takes_polarity_and_scale_of_the_checkpoint(place, tmp_path, monkeypatch, capsys):
    scripted(monkeypatch, 0.5, 0.6)
    run(place, tmp_path / "m", polarity=-1, scale=(2.0, 1.5))
    cube, model = str(place / "cube.zarr"), f"local-dir:{tmp_path / 'm'}"
    values = {}
    for name, options in {"own": [], "given": ["--polarity", "1", "--scale", "1", "1"]}.items():
        words = ["predict", cube, "--model", model, "--out", str(tmp_path / f"{name}.zarr"), "--lines", "2", *options]
        assert main([*words, "--device", "cpu"]) == 0
        values[name] = open_survey(tmp_path / f"{name}.zarr").line("inline", 2)
        told = json.loads((tmp_path / f"{name}.json").read_text())["prediction"]
        assert (told["polarity"], told["scale"]) == ((-1, [2.0, 1.5]) if name == "own" else (1, [1.0, 1.0]))
    statistics = open_survey(cube).robust_statistics()
    expected = predict_tiled(
        saltzoo.create_model(model),
        AMPLITUDES[2].T,
        normalize=(statistics.median, statistics.deviation),
        polarity=-1,
        scale=(2.0, 1.5),
    )
    np.testing.assert_allclose(values["own"], expected, atol=1e-6)
    assert abs(values["own"] - values["given"]).max() > 1e-3


BLANK, SOME = np.zeros((48, 40), bool), SALT[2].T
REFUSED = {
    "one line alone": (
        {"inline_1": SOME},
        [],
        "lines must be two or more, as one is held out to choose by, got inline 1",
    ),
    "only empty masks": ({"inline_1": BLANK, "inline_2": BLANK}, [], "masks must mark salt, got 2 lines without any"),
    "no salt on the held line": ({"inline_1": SOME, "inline_2": BLANK}, [], "held must be a line with salt"),
    "salt on the held line alone": ({"inline_1": BLANK, "inline_2": SOME}, [], "must hold salt besides that"),
    "no such held line": ({"inline_1": SOME, "inline_2": SOME}, ["--held", "inline_4"], "held must be one of"),
    "a wrong size": ({"inline_1": SOME, "inline_2": SOME[1:]}, [], "got 47 x 40"),
    "no such line": ({"inline_1": SOME, "inline_9": SOME}, [], "inline must be one of 0 to 4, step 1, got 9"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_lines_that_do_not_fit_are_a_wrong_command_line(place, tmp_path, capsys, case):
    masks, options, message = REFUSED[case]
    for name, mask in masks.items():
        write_mask(tmp_path / "lines" / f"{name}.png", mask)
    words = ["adapt", str(place / "cube.zarr"), "--lines", str(tmp_path / "lines"), "--out", str(tmp_path / "m")]
    assert main([*words, *options, "--device", "cpu"]) == 2
    assert message in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert not (tmp_path / "m").exists()


def test_nothing_is_overwritten_unless_asked(place, tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="which is no checkpoint"):
            run(place, tmp_path / "mine", overwrite=overwrite)
    with pytest.raises(NotADirectoryError, match="within the file"):
        run(place, tmp_path / "mine" / "notes.txt" / "m")
    scripted(monkeypatch, 0.1, 0.2)
    run(place, tmp_path / "m")
    before = {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()}
    with pytest.raises(FileExistsError, match="overwrite it"):
        run(place, tmp_path / "m")
    assert {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()} == before
    seen = scripted(monkeypatch, 0.1, 0.3)
    run(place, tmp_path / "m", seed=1, overwrite=True)
    assert same(seen[1], tensors(tmp_path / "m"))
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"polarity": 0}, "unknown polarity 0"),
        ({"scale": (0.0, 1.0)}, "scale must be two finite numbers above 0"),
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"lr": -1.0}, "lr"),
        ({"model": "saltnet_s.none"}, "none"),
        ({"model": "unet_efficientnet_lite0_scse_hc.tgs_folds"}, "is an ensemble, and one model is needed"),
    ],
)
def test_wrong_options(place, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run(place, tmp_path / "m", **options)
    assert not (tmp_path / "m").exists()


def test_a_line_in_memory_must_fit(place, tmp_path):
    lines = [LabelledLine("inline", 1, SOME), LabelledLine("crossline", 2, SOME)]
    with pytest.raises(ValueError, match=r"the mask of crossline 2 must have a row .* 48 x 5 .*, got 48 x 40"):
        adapt(open_survey(place / "cube.zarr"), lines, tmp_path / "m", **start(place))


@pytest.mark.slow
def test_four_lines_of_a_new_survey_raise_the_iou_of_unseen_ones(tmp_path):
    """It takes about 1 minute on one core with bfloat16 units, several without."""
    drawn = SyntheticSurvey((150, 150, 150), seed=3, polarity=-1, peak=0.05)
    amplitudes, salt = drawn.slab(0, 150)
    survey = open_survey(write_zarr(tmp_path / "cube.zarr", amplitudes))
    for number in (40, 60, 80, 100):
        write_mask(tmp_path / "picked" / f"inline_{number:04d}.png", salt[number].T)
    found = adapt(survey, tmp_path / "picked", tmp_path / "model", rounds=4)
    assert found["iou"] > found["iou_before"]
    median, scaled = float(np.median(amplitudes)), 1.4826 * float(np.median(abs(amplitudes - np.median(amplitudes))))
    unseen = [number for number in range(30, 121, 10) if number not in (40, 60, 80, 100)]
    scores = []
    for name, options in (("saltnet_s.wide", {"pretrained": True}), (f"local-dir:{tmp_path / 'model'}", {})):
        model = saltzoo.create_model(name, **options)
        masks = [predict_tiled(model, amplitudes[k].T, normalize=(median, scaled)) > 0.5 for k in unseen]
        truth = salt[unseen].transpose(0, 2, 1)
        scores.append((masks & truth).sum() / (masks | truth).sum())
    assert scores[1] > scores[0] + 0.2, scores


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT for a child")
@pytest.mark.parametrize("after", ["before:", "round 1", "round 3"])
def test_ctrl_c_leaves_a_whole_checkpoint_or_none(place, tmp_path, after):
    words = [sys.executable, "-m", "saltzoo", "adapt", place / "cube.zarr", "--lines", place / "picked"]
    words += [
        "--out",
        tmp_path / "m",
        "--model",
        f"local-dir:{place / 'start'}",
        "--rounds",
        "10000",
        "--patience",
        "10000",
    ]
    options = ["--crops", "4", "--batch-size", "2", "--device", "cpu"]
    with subprocess.Popen(
        [*map(str, words), *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        for line in child.stdout:
            if line.startswith(after):
                child.send_signal(signal.SIGINT)
                break
        _, errors = child.communicate(timeout=120)
    assert child.returncode == 130, errors
    assert errors.startswith("interrupted: ")
    if (tmp_path / "m").exists():
        config = json.loads((tmp_path / "m" / "config.json").read_text())
        iou, before = (one["value"] for one in config["metrics"])
        assert iou > before
        tensors(tmp_path / "m")
        assert f"{tmp_path / 'm'} holds round" in errors
    assert [name for name in os.listdir(tmp_path) if name != "m"] == []
