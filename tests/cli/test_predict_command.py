"""`saltzoo predict`: files, exit statuses, and what a stop leaves."""

import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import saltzoo
from saltzoo.cli import loading, main, picture_files, progress, segmenting
from saltzoo.cli.outputs import plan
from saltzoo.data import synthetic_tiles

TILES = synthetic_tiles(4, seed=5, size=120).images
MODEL = ["--model", "saltnet_s.tgs", "--device", "cpu"]


def save(pixels, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def read(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def run(capsys, *words):
    """Return exit status, standard output and standard error of `saltzoo predict` with the bundled weights."""
    status = main(["predict", *MODEL, *map(str, words)])
    done = capsys.readouterr()
    return status, done.out, done.err


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def brightness(monkeypatch):
    """Replace the network: the probability of salt is the gray level. Returns the options of each call."""
    calls = []

    def predict_tiled(model, picture, **how):
        calls.append(segmenting.Prediction(**how))
        full = 1 if picture.dtype.kind == "f" else np.iinfo(picture.dtype).max
        return (picture[:] / full).astype(np.float32)

    monkeypatch.setattr(segmenting, "predict_tiled", predict_tiled)
    return calls


def test_the_files_are_those_of_predict(capsys, tmp_path):
    first, second = (np.ascontiguousarray(tile[:101, :101]) for tile in TILES[:2])  # the size of one tile
    save(first, tmp_path / "in" / "a.png")
    save(second.astype(np.uint16) * 257, tmp_path / "in" / "b.tif")
    words = [tmp_path / "in", "--out", tmp_path / "out", "--overlay", "--probabilities", "npy", "--tta", "hflip"]
    status, out, err = run(capsys, *words, "--threshold", 0.3)
    assert (status, err) == (0, "")
    model = saltzoo.create_model("saltnet_s.tgs", pretrained=True)
    for name, picture in (("a", first), ("b", second)):
        expected = saltzoo.predict(model, picture, tta="hflip")
        np.testing.assert_allclose(np.load(tmp_path / "out" / f"{name}_probability.npy"), expected, atol=1e-6)
        mask = read(tmp_path / "out" / f"{name}_mask.png")
        np.testing.assert_array_equal(mask, (np.load(tmp_path / "out" / f"{name}_probability.npy") > 0.3) * 255)
        overlay = saltzoo.draw.overlay(picture, mask > 0)
        np.testing.assert_array_equal(read(tmp_path / "out" / f"{name}_overlay.png"), overlay)
        assert f"{(mask > 0).mean():.1%} salt -> {tmp_path / 'out' / name}_mask.png" in out


def test_options_reach_the_prediction(capsys, tmp_path, brightness, monkeypatch):
    cleaned = []
    monkeypatch.setattr(picture_files, "clean", lambda mask, **options: (cleaned.append(options), mask)[1])
    save(TILES[0], tmp_path / "a.png")
    options = ["--tile", 64, "--overlap", 0.25, "--scale", 2, 0.5, "--polarity", -1, "--batch-size", 3, "--clean", 9]
    assert run(capsys, tmp_path / "a.png", "--out", tmp_path / "out", *options)[0] == 0
    how = segmenting.Prediction(tile=64, overlap=0.25, scale=(2.0, 0.5), polarity=-1, batch_size=3)
    assert brightness == [how, how]  # a trial, and the picture
    assert cleaned == [{"min_size": 9, "fill_holes": 9}]


def test_the_models_own_threshold_and_size_are_used_unless_told(capsys, tmp_path, brightness, monkeypatch):
    sizes = []
    monkeypatch.setattr(picture_files, "clean", lambda mask, min_size, fill_holes: (sizes.append(min_size), mask)[1])
    load = loading.load_model

    def load_with_defaults(name, device, fast=False):
        model = load(name, device)
        model.threshold, model.min_size = 0.9, 7
        return model

    monkeypatch.setattr(loading, "load_model", load_with_defaults)
    path = save(TILES[0], tmp_path / "a.png")
    for words, threshold, size in (([], 0.9, 7), (["--threshold", 0, "--min-size", 0], 0, 0)):
        found = json.loads(run(capsys, path, "--out", tmp_path / "out", "--overwrite", "--json", *words)[1])["done"][0]
        assert (found["threshold"], found["min_size"]) == (threshold, size)
        assert sizes == ([size] if size else [])
        sizes.clear()
        np.testing.assert_array_equal(read(tmp_path / "out" / "a_mask.png") > 0, TILES[0] / np.float32(255) > threshold)


def test_amplitudes_go_to_survey_normalisation_as_stored(capsys, tmp_path, monkeypatch):
    amplitudes = np.random.default_rng(0).normal(0, 3000, (50, 60)).astype(np.float32)
    amplitudes[:, :5] = np.nan
    np.save(tmp_path / "a.npy", amplitudes)
    given = []

    def predict_tiled(model, picture, *, normalize, **how):
        given.append((picture, normalize))
        return np.where(np.isnan(picture), np.nan, 1.0).astype(np.float32)

    monkeypatch.setattr(segmenting, "predict_tiled", predict_tiled)
    words = [tmp_path / "a.npy", "--out", tmp_path / "out", "--normalize", "survey", "--overlay"]
    assert run(capsys, *words)[0] == 0
    np.testing.assert_array_equal(given[-1][0], amplitudes)
    assert given[-1][1] == "survey"
    np.testing.assert_array_equal(read(tmp_path / "out" / "a_mask.png") > 0, ~np.isnan(amplitudes))
    assert read(tmp_path / "out" / "a_overlay.png").shape == (50, 60, 3)


def test_one_bad_picture_of_a_hundred_costs_the_others_nothing(capsys, tmp_path, brightness):
    for number in range(100):
        save(TILES[number % 4, :40, :40], tmp_path / "in" / f"{number:03d}.png")
    (tmp_path / "in" / "042.png").write_bytes((tmp_path / "in" / "041.png").read_bytes()[:200])
    status, out, err = run(capsys, tmp_path / "in", "--out", tmp_path / "out")
    assert status == 1
    assert len(out.splitlines()) == 99
    assert err.splitlines()[0] == "failed: 1 of 100"
    assert "042.png cannot be read as a picture" in err.splitlines()[1]
    masks = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in masks] == [f"{n:03d}_mask.png" for n in range(100) if n != 42]
    for file in masks:
        np.testing.assert_array_equal(read(file) > 0, TILES[int(file.name[:3]) % 4, :40, :40] > 127)


def test_json_describes_every_picture(capsys, tmp_path, brightness):
    save(TILES[0], tmp_path / "a.png")
    status, out, _ = run(capsys, tmp_path / "a.png", tmp_path / "none.png", "--out", tmp_path / "out", "--json")
    assert status == 1
    found = json.loads(out)
    (done,), (failed,) = found["done"], found["failed"]
    assert (done["picture"], done["mask"]) == (str(tmp_path / "a.png"), str(tmp_path / "out" / "a_mask.png"))
    assert (done["height"], done["width"], done["warnings"]) == (120, 120, [])
    assert done["salt"] == pytest.approx((TILES[0] > 127).mean())
    assert failed["picture"] == str(tmp_path / "none.png")
    assert "No such file" in failed["error"]
    assert (found["left"], found["skipped"], found["stopped"]) == (0, 0, None)


def test_nothing_is_overwritten_unless_told_and_resume_writes_what_is_missing(capsys, tmp_path, brightness):
    for name in "abc":
        save(TILES[0], tmp_path / "in" / f"{name}.png")
    out = tmp_path / "out"
    out.mkdir()
    (out / "a_mask.png").write_text("mine")
    (out / "b_overlay.png").write_text("mine, too")
    words = [tmp_path / "in", "--out", out, "--overlay"]
    before = contents(out)
    status, _, err = run(capsys, *words)
    assert status == 2
    assert f"already there: {out / 'a_mask.png'}, {out / 'b_overlay.png'}. Choose another --out" in " ".join(
        err.split()
    )
    assert contents(out) == before
    status, printed, err = run(capsys, *words, "--resume")
    assert (status, len(printed.splitlines())) == (0, 3)
    assert len(contents(out)) == 6
    assert {path: contents(out)[path] for path in before} == before
    status, printed, err = run(capsys, *words, "--resume")
    assert (status, printed, err) == (0, "", "done before: 3\n")
    assert run(capsys, *words, "--overwrite")[0] == 0
    assert (read(out / "a_mask.png") == read(out / "c_mask.png")).all()
    assert run(capsys, *words, "--overwrite", "--resume")[0] == 2


def test_a_full_disk_stops_and_says_how_to_go_on(capsys, tmp_path, brightness, monkeypatch):
    for name in "abc":
        save(TILES[0], tmp_path / "in" / f"{name}.png")
    count, synced = itertools.count(), os.fsync

    def full(number):
        if next(count) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        synced(number)

    monkeypatch.setattr(os, "fsync", full)
    words = [tmp_path / "in", "--out", tmp_path / "out"]
    status, _, err = run(capsys, *words)
    assert status == 1
    assert "b.png: [Errno 28] No space left on device" in err
    assert "stopped, because the disk is full: done 1 of 3, not tried 1; run the same command" in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a_mask.png"]
    assert run(capsys, *words, "--resume")[0] == 0
    assert len(contents(tmp_path / "out")) == 3


@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_says_what_is_done_and_how_to_go_on(capsys, tmp_path, monkeypatch, as_json):
    for name in "abc":
        save(TILES[0], tmp_path / "in" / f"{name}.png")
    calls = itertools.count()

    def stopped(model, picture, **how):
        if next(calls) == 2:  # after the trial and a
            raise KeyboardInterrupt
        return np.zeros(picture.shape, np.float32)

    monkeypatch.setattr(segmenting, "predict_tiled", stopped)
    words = [tmp_path / "in", "--out", tmp_path / "out", *(["--json"] if as_json else [])]
    status, out, err = run(capsys, *words)
    assert status == 130
    assert "interrupted: done 1 of 3, not tried 2; run the same command with --resume to go on" in err
    if as_json:
        assert json.loads(out)["left"] == 2
    monkeypatch.setattr(segmenting, "predict_tiled", lambda model, picture, **how: np.zeros(picture.shape, np.float32))
    assert run(capsys, *words, "--resume")[0] == 0
    assert len(contents(tmp_path / "out")) == 3


@pytest.mark.slow
def test_a_kill_leaves_whole_files_and_resume_the_same_bytes(tmp_path):
    for number in range(12):
        save(np.tile(TILES[number % 4], (2, 2)), tmp_path / "in" / f"{number:02d}.png")
    command = [sys.executable, "-m", "saltzoo", "predict", str(tmp_path / "in"), *MODEL, "--probabilities", "tif"]
    subprocess.run([*command, "--out", str(tmp_path / "whole")], check=True, capture_output=True, timeout=120)
    out = tmp_path / "out"
    process = subprocess.Popen([*command, "--out", str(out)], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (out / "02_mask.png").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    whole = contents(tmp_path / "whole")
    for path, data in contents(out).items():
        if not path.name.startswith("."):
            assert data == whole[path]
    done = subprocess.run([*command, "--out", str(out), "--resume"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert {path: data for path, data in contents(out).items() if not path.name.startswith(".")} == whole


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["IN", "--threshold", "2"], 2, "2.0 is not in the range"),
        (["IN", "--overlap", "1"], 2, "is not in the range"),
        (["IN", "--probabilities", "jpg"], 2, "'jpg' is not one of"),
        (["IN", "--device", "tpu"], 2, "--device must be cpu, cuda, cuda:N or mps, got 'tpu'"),
        (["IN", "--tta", "none"], 2, "'none' is not one of 'hflip'"),
        (["IN", "--clean", "4", "--min-size", "4"], 2, "--clean removes small bodies, too"),
        (["IN", "--normalize", "survey", "--value-range", "0", "1"], 2, "leave it out with --normalize survey"),
        (["IN/empty"], 2, "empty holds no picture"),
        (["IN/*.jpg"], 2, "no file matches"),
        ([], 2, "Missing argument 'IN...'"),
    ],
)
def test_wrong_command_lines_write_nothing(capsys, tmp_path, words, status, message):
    save(TILES[0], tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    given = [word.replace("IN", str(tmp_path)) for word in words]
    found, out, err = run(capsys, *given, "--out", tmp_path / "out")
    assert (found, out) == (status, "")
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("saltnet_s", {"num_classes": 3}, "has 3 classes: use a model with one class, salt"),
        ("resunet_101", {"in_chans": 2, "scalar_channel": "bottleneck"}, "this model reads a number for each picture"),
    ],
)
def test_models_that_cannot_segment_pictures_are_refused(capsys, tmp_path, name, options, words):
    save(TILES[0], tmp_path / "a.png")
    folder = saltzoo.save_pretrained(saltzoo.create_model(name, **options), tmp_path / "model")
    given = ["predict", str(tmp_path / "a.png"), "--model", f"local-dir:{folder}", "--out", str(tmp_path / "out")]
    assert main(given) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_only_a_terminal_gets_a_bar(capsys, tmp_path, brightness, monkeypatch):
    save(TILES[0], tmp_path / "a.png")
    words = [tmp_path / "a.png", "--out", tmp_path / "out", "--overwrite"]
    assert run(capsys, *words)[2] == ""
    monkeypatch.setattr(progress, "_is_terminal", lambda: True)
    _, out, err = run(capsys, *words)
    assert "1/1" in err
    assert out.startswith(f"{tmp_path / 'a.png'}: ")
    assert run(capsys, *words, "--json")[2] == ""


def test_names_that_differ_by_case_are_one_name(tmp_path):
    for second in ("a/x.tif", "b/x.png", "b/X.png"):
        with pytest.raises(ValueError, match="two pictures have the same name"):
            plan([tmp_path / "a/x.png", tmp_path / second], tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--threshold", "nan"], "nan is not a finite number"),
        (["--overlap", "nan"], "nan is not a finite number"),
        (["--scale", "inf", "1"], "inf is not a finite number"),
        (["--value-range", "0", "nan"], "nan is not a finite number"),
        (["--value-range", "5", "1"], "BLACK must be below WHITE, got 5 1"),
        (["--tta", "mirror"], "'mirror' is not one of 'hflip', 'flips', 'd4', 'scales'"),
    ],
)
def test_values_without_a_meaning_are_wrong_usage(capsys, tmp_path, words, message):
    save(TILES[0], tmp_path / "a.png")
    status, out, err = run(capsys, tmp_path / "a.png", "--out", tmp_path / "out", *words)
    assert (status, out) == (2, "")
    assert message in " ".join(err.split())
    assert not (tmp_path / "out").exists()


def test_names_of_augmentation_are_those_of_predict():
    from saltzoo.cli.options import TTA
    from saltzoo.inference.tta import NAMES

    assert TTA == NAMES


def test_a_folder_that_cannot_be_made_is_told_before_anything_is_computed(capsys, tmp_path, brightness):
    save(TILES[0], tmp_path / "a.png")
    (tmp_path / "file").write_text("")
    status, _, err = run(capsys, tmp_path / "a.png", "--out", tmp_path / "file" / "out")
    assert (status, brightness) == (2, [])
    assert "is no folder" in err


def test_ctrl_c_while_the_model_is_loaded_says_how_to_go_on(capsys, tmp_path, monkeypatch):
    save(TILES[0], tmp_path / "a.png")

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(loading, "load_model", stopped)
    status, _, err = run(capsys, tmp_path / "a.png", "--out", tmp_path / "out")
    assert status == 130
    assert err == "interrupted: done 0 of 1, not tried 1; run the same command with --resume to go on\n"


_MEASURED = """
import sys
from pathlib import Path
import torch, saltzoo
from saltzoo.cli import main, loading, segmenting
torch.set_num_threads(1)
peak = lambda: int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
class Net(torch.nn.Conv2d):
    preprocess, threshold, min_size, tile_size = saltzoo.Preprocess.gray(), 0.5, 0, (201, 201)
loading.load_model = lambda name, device=None, fast=False: Net(1, 1, 3, padding=1).eval()
segmenting.LARGE = 1
out = ["--out", "out", "--overlay", "--probabilities", "npy", "--model", "x", "--device", "cpu"]
assert main(["predict", "small.npy", "--value-range", "0", "1", *out]) == 0
before = peak()
assert main(["predict", *sys.argv[1:], *out]) == 0
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_a_large_array_takes_the_memory_of_strips(tmp_path, dtype):
    picture = np.lib.format.open_memmap(tmp_path / "big.npy", mode="w+", dtype=dtype, shape=(8000, 3000))
    for first in range(0, 8000, 1000):
        rows = np.random.default_rng(first).random((1000, 3000), dtype=np.float32)
        picture[first : first + 1000] = rows if dtype != "uint16" else rows * 65535
    del picture
    np.save(tmp_path / "small.npy", np.random.default_rng(0).random((900, 3000), dtype=np.float32))
    words = ["big.npy"] if dtype == "uint16" else ["big.npy", "--value-range", "0", "1"]
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *words], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert float(done.stdout.split()[-1]) < 60  # MiB; the samples alone are 46 to 183, and the overlay 69
    with (
        Image.open(tmp_path / "out" / "big_mask.png") as mask,
        Image.open(tmp_path / "out" / "big_overlay.png") as both,
    ):
        assert (mask.size, both.size) == ((3000, 8000), (3000, 8000))


def test_a_large_map_is_predicted_in_a_file_and_goes_on(capsys, tmp_path, monkeypatch):
    from saltzoo.inference import predict_tiled

    amplitudes = np.random.default_rng(0).normal(size=(260, 120)).astype(np.float32)
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "line.npy", amplitudes)
    words = [tmp_path / "in", "--normalize", "survey", "--probabilities", "npy", "--overlay"]
    assert run(capsys, *words, "--out", tmp_path / "whole")[0] == 0
    monkeypatch.setattr(segmenting, "LARGE", 1000)
    starts = []

    def stopped(model, picture, **how):
        def progress(done, _all):
            if "out" in how and done > 2 and not how["resume"]:
                raise KeyboardInterrupt

        starts.append(how.get("resume"))
        return predict_tiled(model, picture, progress=progress, **how)

    monkeypatch.setattr(segmenting, "predict_tiled", stopped)
    status, _, err = run(capsys, *words, "--out", tmp_path / "out")
    assert status == 130
    assert "--resume" in err
    assert all(path.name.startswith(".") for path in (tmp_path / "out").iterdir())
    assert json.loads((tmp_path / "out" / ".line_probability.npy.part.json").read_text())["finished"] > 0
    assert run(capsys, *words, "--out", tmp_path / "out", "--resume")[0] == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert starts == [None, False, None, True]  # None: the trial on a small picture
