"""The scripts of the benchmarks run, and report failures as rows. Speed is not tested."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import saltzoo
from saltzoo.data import folds_by_id
from saltzoo.draw import save_png
from saltzoo.metrics import iou_score, salt_map

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CONDITIONS = {"device", "cores", "threads", "system", "python", "torch", "timm", "saltzoo", "commit", "date"}
Loader = Callable[[str], Any]


def _run(script: str, *options: str) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_versus_runs_and_keeps_what_it_did_not_measure(tmp_path: Path) -> None:
    pytest.importorskip("segmentation_models_pytorch")
    path = tmp_path / "versus_smp_cpu.csv"
    options = ["--peer", "smp", "--rounds", "1", "--out", str(tmp_path)]
    printed = _run("versus.py", *options, "--only", "lovasz")
    assert "outputs differ by" in printed
    rows = _read(path)
    assert set(rows[0]) >= CONDITIONS | {"segmentation_models_pytorch", "ms", "ratio", "peak_mib", "difference"}
    theirs, ours, _ = rows
    assert (theirs["contender"], theirs["ratio"], theirs["difference"]) == ("smp", "1.0", "")
    assert float(ours["difference"]) < 1e-5 * float(ours["scale"])
    assert float(ours["gradient_difference"]) < 1e-5 * float(ours["gradient_scale"])


def test_versus_gives_each_subject_its_own_settings_and_table(
    load_benchmark: Loader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("segmentation_models_pytorch")
    versus = load_benchmark("versus")
    plans = []

    def rows(plan: Any) -> Any:
        plans.append(plan)
        yield dict.fromkeys(versus.TABLES[versus.PARTS]) | {"subject": "slow", "ms": plan.batch}

    subject = versus.Subject(rows, table=versus.PARTS, sizes=(129,), batch=4)
    monkeypatch.setattr(versus, "SUBJECTS", {"slow": subject})
    for options in ([], ["--size", "33", "65", "--batch", "1", "--rounds", "2"]):
        monkeypatch.setattr(sys, "argv", ["versus.py", "--peer", "smp", "--out", str(tmp_path), *options])
        versus.main()
    assert plans == [versus.Plan("cpu", (129,), 4, 7), versus.Plan("cpu", (33, 65), 1, 2)]
    assert [path.name for path in tmp_path.iterdir()] == ["parts_cpu.csv"]
    assert [row["ms"] for row in _read(tmp_path / "parts_cpu.csv")] == ["1"]


@pytest.mark.slow
def test_validate_scores_the_fold_as_a_user_would(
    load_benchmark: Loader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tiles = saltzoo.data.synthetic_tiles(20, seed=3)
    for name, image, mask in zip(tiles.ids, tiles.images, tiles.require_masks(), strict=True):
        save_png(image, tmp_path / "data" / "train" / "images" / f"{name}.png")
        save_png(mask.astype("uint8") * 255, tmp_path / "data" / "train" / "masks" / f"{name}.png")
    torch.manual_seed(0)
    model = saltzoo.create_model("unet", encoder="test_resnet", decoder_channels=(8,) * 5)
    read = saltzoo.data.read_tgs(tmp_path / "data")  # in the order of the files
    held_out = read.select(folds_by_id(read.ids) == 1)
    card = {"name": "salt_map", "value": 0.5, "held_out": held_out.fingerprint}
    folder = saltzoo.save_pretrained(model, tmp_path / "model", metrics=[card])
    options = ["--data", str(tmp_path / "data"), "--fold", "1", "--device", "cpu", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["validate.py", "--model", f"local-dir:{folder}", *options])
    load_benchmark("validate").main()
    written = _read(tmp_path / "validate_cpu.csv")
    assert {(row["data"], row["tta"]) for row in written if row["data"] == "synthetic"} == {
        ("synthetic", "none"),
        ("synthetic", "hflip"),
    }
    rows = {row["tta"]: row for row in written if row["data"] != "synthetic"}
    for tta, row in rows.items():
        masks = saltzoo.predict(model, held_out.images, tta=None if tta == "none" else tta) > 0.5
        assert float(row["salt_map"]) == pytest.approx(salt_map(masks, held_out.require_masks()).item(), abs=1e-6)
        assert float(row["iou"]) == pytest.approx(
            iou_score(masks, held_out.require_masks(), average="per_image").item(), abs=1e-6
        )
        assert (row["tiles"], row["fold"], row["unseen"]) == (str(len(held_out)), "1", "yes")
    assert set(rows) == {"none", "hflip"}


@pytest.mark.slow
def test_validate_scores_each_member_of_an_ensemble_on_its_own_fold(
    load_benchmark: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiles = saltzoo.data.synthetic_tiles(30, seed=3)
    for fold in range(5):
        model = saltzoo.create_model("unet", encoder="test_resnet", decoder_channels=(8,) * 5)
        recipe = {"split": "id", "fold": fold}
        card = {"name": "salt_map", "value": 0.5, "held_out": tiles.select(folds_by_id(tiles.ids) == fold).fingerprint}
        saltzoo.save_pretrained(model, tmp_path / f"fold{fold}", recipe=recipe, metrics=[card])
    folder = saltzoo.save_pretrained(saltzoo.Ensemble.from_runs(tmp_path), tmp_path / "folds")
    validate = load_benchmark("validate")
    monkeypatch.setattr(validate, "synthetic_tiles", lambda count, seed: tiles)
    found = list(validate.rows(f"local-dir:{folder}", tiles, None, torch.device("cpu")))
    guesses = np.zeros(tiles.images.shape, np.bool_)
    for fold in range(5):
        own = folds_by_id(tiles.ids) == fold
        model = saltzoo.create_model(f"local-dir:{tmp_path / f'fold{fold}'}")
        guesses[own] = saltzoo.predict(model, tiles.images[own]) > 0.5
    assert (found[0]["fold"], found[0]["tiles"], found[0]["unseen"]) == ("each", 30, "yes")
    assert found[0]["salt_map"] == pytest.approx(salt_map(guesses, tiles.require_masks()).item(), abs=1e-6)


@pytest.mark.slow
def test_loading_is_timed_beside_building(tmp_path: Path) -> None:
    _run("loading.py", "--models", "saltnet_s.tgs", "--rounds", "2", "--out", str(tmp_path))
    rows = {row["from"]: row for row in _read(tmp_path / "loading_cpu.csv")}
    assert list(rows) == ["built", "package", "cache"]
    assert float(rows["built"]["times_building"]) == 1.0
    for row in rows.values():
        assert 0 < float(row["ms_min"]) <= float(row["ms"]) <= float(row["ms_max"])
    slowest = float(rows["cache"]["ms_max"]) / float(rows["built"]["ms_min"])
    assert 0 < float(rows["cache"]["times_building"]) <= slowest * 1.001  # four digits are kept


@pytest.mark.slow
def test_tools_for_tiles_are_timed(load_benchmark: Loader) -> None:
    pytest.importorskip("sklearn")
    tiles = load_benchmark("tiles")
    for rows, other in ((tiles.rle_rows, "loop over pixels"), (tiles.neighbours_rows, "scikit-learn")):
        found = list(rows(20, 1))
        assert [row["contender"] for row in found] == [other, "saltzoo"]
        assert all(row["note"].startswith("0 ") for row in found), "results differ"


@pytest.mark.slow
def test_the_loop_is_compared_with_a_bare_step(tmp_path: Path) -> None:
    options = ["--models", "saltnet_s", "--amp", "off", "--batch", "2", "--steps", "1", "--rounds", "1"]
    text = _run("loop.py", *options, "--out", str(tmp_path))
    rows = _read(tmp_path / "loop_cpu.csv")
    assert [row["contender"] for row in rows] == ["bare step", "loop", "loop with survey"]
    assert all(float(row["tiles_per_s"]) > 0 for row in rows)
    assert float(rows[0]["ratio"]) == 1
    assert set(rows[0]) >= CONDITIONS
    assert "| saltnet_s | loop | off |" in text
