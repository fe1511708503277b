"""The training example: a run, its interruption and resumption, and errors for wrong input.

Most tests call its main function. Slow tests start processes: killed, interrupted, or two of them together.
"""

from __future__ import annotations

import csv
import errno
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import saltzoo
from saltzoo.data import Tiles, folds_by_id, synthetic_tiles
from saltzoo.draw import save_png

SCRIPT = Path(__file__).parents[2] / "examples" / "train.py"
TINY = [
    *("--synthetic-tiles", "20", "--batch-size", "8", "--amp", "off"),
    *("--model", "unet", "--options", "encoder=test_resnet", "attention=scse", "decoder_channels=[8, 8, 8, 8, 8]"),
]


@pytest.fixture(scope="module")
def train() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_example", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def finished(train: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a complete run. Tests only read it."""
    out = tmp_path_factory.mktemp("finished") / "run"
    train.main([*TINY, "--epochs", "2", "--out", str(out)])
    return out


def log_rows(out: Path) -> list[list[str]]:
    """Epoch, loss and score; the seconds differ from run to run."""
    with open(out / "log.csv", newline="") as file:
        return [row[:3] for row in csv.reader(file)]


def predictions(out: Path) -> np.ndarray:
    return saltzoo.predict(saltzoo.create_model(f"local-dir:{out / 'model'}"), synthetic_tiles(4, seed=5).images)


def held_out_tiles(count: int) -> Tiles:
    tiles = synthetic_tiles(count, seed=0)
    return tiles.select(folds_by_id(tiles.ids) == 0)


def test_a_run_writes_checkpoint_picture_log_and_true_scores(finished: Path) -> None:
    assert {"model", "predictions.png", "log.csv", "last.pt"} == {path.name for path in finished.iterdir()}
    assert {path.name for path in (finished / "model").iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert len(log_rows(finished)) == 3

    model, held_out = saltzoo.create_model(f"local-dir:{finished / 'model'}"), held_out_tiles(20)
    mask = saltzoo.predict(model, held_out.images, tta="hflip") > 0.5
    score = float(saltzoo.metrics.salt_map(mask, held_out.require_masks()))
    card = (finished / "model" / "README.md").read_text()
    conditions = rf"fold 0 of 5, held_out {len(held_out)} tiles, ids \w+, seed 0, epoch 2 of 2"
    written = re.search(rf"\| salt_map_hflip \| ([\d.]+) \|.*{conditions}", card)
    assert written is not None
    assert float(written[1]) == pytest.approx(score, abs=5.1e-5)  # the card has four digits


def interrupt_epoch(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Ctrl-C arrive at the start of an epoch, counted from 1."""
    epoch, started = saltzoo.training.Trainer.epoch, []

    def interrupted(trainer: saltzoo.training.Trainer, *args: object) -> object:
        started.append(1)
        if len(started) == number:
            raise KeyboardInterrupt
        return epoch(trainer, *args)

    monkeypatch.setattr(saltzoo.training.Trainer, "epoch", interrupted)


def test_an_interrupted_run_leaves_a_checkpoint_and_resumes_to_the_same_result(
    train: ModuleType,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_epoch(2, patch)
        with pytest.raises(SystemExit) as stop:
            train.main([*TINY, "--epochs", "2", "--out", str(out)])
    assert stop.value.code == 130
    assert "continue with --resume" in capsys.readouterr().out
    assert predictions(out).shape == (4, 101, 101)
    train.main([*TINY, "--epochs", "2", "--out", str(out), "--resume"])
    assert log_rows(out) == log_rows(finished)
    np.testing.assert_array_equal(predictions(out), predictions(finished))


def test_an_interruption_in_the_first_epoch_is_reported(
    train: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt_epoch(1, monkeypatch)
    with pytest.raises(SystemExit) as stop:
        train.main([*TINY, "--out", str(tmp_path / "run")])
    assert stop.value.code == 130
    assert "nothing was written" in capsys.readouterr().out


def test_a_full_disk_is_reported(train: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "run"
    monkeypatch.setattr("saltzoo.training.artifacts.save_pretrained", full)
    with pytest.raises(SystemExit, match=r"^error: .*the disk of .*run is full .*free space and resume the run"):
        train.main([*TINY, "--epochs", "2", "--out", str(out)])
    assert {path.name for path in out.iterdir()} == {"last.pt", "log.csv"}


@pytest.mark.slow
def test_more_epochs_continue_a_run(train: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train.main([*TINY, "--epochs", "1", "--out", str(tmp_path)])
    train.main([*TINY, "--epochs", "3", "--out", str(tmp_path), "--resume"])
    assert [row[0] for row in log_rows(tmp_path)] == ["epoch", "1", "2", "3"]
    assert "rate restarts" in capsys.readouterr().out


def write_data(folder: Path, *, count: int = 20, size: int = 101) -> Path:
    tiles = synthetic_tiles(count, seed=3, size=size)
    for name, image, mask in zip(tiles.ids, tiles.images, tiles.require_masks(), strict=True):
        save_png(image, folder / "train" / "images" / f"{name}.png")
        save_png(mask.astype(np.uint8) * 255, folder / "train" / "masks" / f"{name}.png")
    return folder


def expect_error(train: ModuleType, message: str, out: Path, *options: str) -> None:
    existed = out.exists()
    with pytest.raises(SystemExit, match=message) as stop:
        train.main(["--out", str(out), *options])
    assert str(stop.value).startswith("error: ")
    assert out.exists() == existed


def test_wrong_data_is_reported_before_any_training(train: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "out"
    expect_error(train, "nowhere", out, "--data", str(tmp_path / "nowhere"))

    bad_zip = tmp_path / "zip"
    bad_zip.mkdir()
    (bad_zip / "train.zip").write_bytes(b"PK\x03\x04 not a zip")
    expect_error(train, r"train\.zip", out, "--data", str(bad_zip))

    orphan = write_data(tmp_path / "orphan")
    victim = next((orphan / "train" / "images").iterdir())
    victim.unlink()
    expect_error(train, victim.stem, out, "--data", str(orphan))

    small = write_data(tmp_path / "small", size=64)
    expect_error(train, "64", out, "--data", str(small))


def test_wrong_options_are_reported(train: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "out"
    few = ("--synthetic-tiles", "20")
    expect_error(train, "fold must be 0 to 4, got 7", out, *few, "--fold", "7")
    expect_error(train, "there are only 17 training tiles", out, *few, "--batch-size", "18")
    expect_error(train, "epochs must be at least 1, got 0", out, *few, "--batch-size", "8", "--epochs", "0")
    expect_error(train, "nothing to resume", out, *few, "--resume")
    expect_error(train, "KEY=VALUE", out, *few, "--batch-size", "8", "--options", "encoder")
    expect_error(train, "unet_resnet18", out, *few, "--batch-size", "8", "--model", "unet_resnet81")


@pytest.mark.slow
def test_a_finished_run_is_neither_overwritten_nor_resumed_with_other_options(
    train: ModuleType, finished: Path
) -> None:
    before = (finished / "model" / "model.safetensors").read_bytes()
    expect_error(train, "holds a run already", finished, "--synthetic-tiles", "20")
    for changed in (["--synthetic-tiles", "24"], ["--amp", "bf16"], ["--epochs", "1"]):
        expect_error(train, "resume it with the same", finished, *TINY, "--epochs", "2", *changed, "--resume")
    assert (finished / "model" / "model.safetensors").read_bytes() == before


def test_a_checkpoint_without_its_state_is_not_overwritten(train: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "out" / "model").mkdir(parents=True)
    expect_error(train, r"without a last\.pt", tmp_path / "out", "--synthetic-tiles", "20")


def test_a_missing_gpu_is_reported(train: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    expect_error(train, "--device cpu", tmp_path / "out", "--device", "cuda")
    expect_error(train, "got 'gpu'", tmp_path / "out", "--device", "gpu")


def test_a_run_on_the_competitions_zip_has_its_licence(train: ModuleType, tmp_path: Path) -> None:
    folder = write_data(tmp_path / "data")
    with zipfile.ZipFile(folder / "train.zip", "w") as archive:
        for file in sorted((folder / "train").rglob("*.png")):
            archive.write(file, file.relative_to(folder / "train").as_posix())
    train.main([*TINY, "--out", str(tmp_path / "out"), "--data", str(folder / "train.zip"), "--epochs", "1"])
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    assert 'license: "cc-by-nc-4.0"' in card
    assert "TGS Salt Identification Challenge" in card


def command(out: Path, *options: str) -> list[str]:
    return [sys.executable, str(SCRIPT), *TINY, "--out", str(out), *options]


def run(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command(out, *options), env=env, capture_output=True, text=True, timeout=300)


def start_and_wait_for(file: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command(out, *options),
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # The background jobs of a shell, and so their children, ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 200
    while not file.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{file.name} did not appear"
        time.sleep(0.02)
    return process


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_result(tmp_path: Path) -> None:
    options = ("--synthetic-tiles", "40", "--epochs", "8")
    whole, out = tmp_path / "whole", tmp_path / "run"
    done = run(whole, *options)
    assert done.returncode == 0, done.stderr
    process = start_and_wait_for(out / "last.pt", out, *options)
    process.kill()
    process.communicate()
    assert len(torch.load(out / "last.pt", weights_only=True)["history"]) < 8, "killed too late to test anything"
    done = run(out, *options, "--resume")
    assert done.returncode == 0, done.stderr
    assert log_rows(out) == log_rows(whole)
    np.testing.assert_array_equal(predictions(out), predictions(whole))


@pytest.mark.slow
def test_ctrl_c_leaves_a_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start_and_wait_for(out / "last.pt", out, "--epochs", "500")
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert "continue with --resume" in stdout
    assert "Traceback" not in stderr
    assert predictions(out).shape == (4, 101, 101)


@pytest.mark.slow
def test_two_processes_merge_their_scores(tmp_path: Path) -> None:
    out = tmp_path / "run"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    launch += ["--nproc-per-node", "2", *command(out, "--epochs", "1")[1:]]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(launch, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 1:") == 1  # one writer

    held_out = held_out_tiles(20)
    mask = saltzoo.predict(saltzoo.create_model(f"local-dir:{out / 'model'}"), held_out.images) > 0.5
    score = float(saltzoo.metrics.salt_map(mask, held_out.require_masks()))
    # After the epoch, when each process has the statistics of different batches, and at the end, from the folder.
    for line in (r"epoch 1: .*score ([\d.]+)", r"score ([\d.]+), with hflip"):
        printed = re.search(line, done.stdout)
        assert printed is not None, line
        assert float(printed[1]) == pytest.approx(score, abs=5.1e-5)


def test_own_pictures_are_cut_into_tiles_and_a_picture_is_in_one_fold(train: ModuleType, tmp_path: Path) -> None:
    whole = synthetic_tiles(6, seed=5, size=120)
    for name, image, mask in zip("abcdef", whole.images, whole.require_masks(), strict=True):
        save_png(image, tmp_path / "images" / f"line_{name}.png")
        save_png(mask.astype(np.uint8) * 255, tmp_path / "masks" / f"line_{name}.png")
    folders = ["--images", str(tmp_path / "images"), "--masks", str(tmp_path / "masks")]
    train.main([*TINY, *folders, "--epochs", "1", "--fold", "1", "--out", str(tmp_path / "run"), "--device", "cpu"])
    tiles = saltzoo.data.read_folder(tmp_path / "images", tmp_path / "masks")
    folds = folds_by_id([id_.partition("_r")[0] for id_ in tiles.ids])
    (card, _) = json.loads((tmp_path / "run" / "model" / "config.json").read_text())["metrics"]
    assert card["held_out"] == tiles.select(folds == 1).fingerprint
    assert card["data"] == str(tmp_path / "images")
    with pytest.raises(SystemExit, match="own pictures need both --images and --masks"):
        train.main([*TINY, *folders[:2], "--out", str(tmp_path / "other")])


@pytest.mark.slow
def test_own_labels_of_several_classes_train_and_resume(train: ModuleType, tmp_path: Path) -> None:
    whole = synthetic_tiles(6, seed=5, size=120)
    for name, image, mask in zip("abcdef", whole.images, whole.require_masks(), strict=True):
        labels = mask.astype(np.uint8)
        labels[:20], labels[20:24] = 2, 255
        save_png(image, tmp_path / "images" / f"line_{name}.png")
        save_png(labels, tmp_path / "labels" / f"line_{name}.png")
    folders = ["--images", str(tmp_path / "images"), "--masks", str(tmp_path / "labels")]
    given = [*TINY, *folders, "--classes", "3", "--ignore-index", "255", "--fold", "1", "--device", "cpu"]
    given += ["--out", str(tmp_path / "run")]
    train.main([*given, "--epochs", "1"])
    train.main([*given, "--epochs", "2", "--resume"])
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert [metric["name"] for metric in config["metrics"]][:2] == ["mean_iou", "mean_iou_hflip"]
    assert config["model_args"]["num_classes"] == 3
    assert (config["recipe"]["ignore_index"], config["recipe"]["losses"][0]["name"]) == (255, "ce_loss")
    for wrong in (["--classes", "3"], ["--ignore-index", "255"]):
        with pytest.raises(SystemExit, match="are of --masks, which are missing"):
            train.main([*TINY, *wrong, "--out", str(tmp_path / "other")])
