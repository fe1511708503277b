"""The benchmark of tiling runs, both tilings agree, and the memory of tiling is that of a strip."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "tiling.py"


def rows_of(folder, name, *options):
    command = [sys.executable, str(SCRIPT), *options, "--out", str(folder)]
    subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    with (folder / name).open(newline="") as file:
        return {row["contender"]: row for row in csv.DictReader(file)}


@pytest.mark.slow
def test_both_tilings_agree(tmp_path):
    options = ("--models", "tiny", "--height", "150", "--width", "250", "--rounds", "2")
    rows = rows_of(tmp_path, "tiling_cpu.csv", *options)
    assert set(rows) == {"monai", "saltzoo"}
    assert float(rows["saltzoo"]["difference"]) < 1e-5
    assert float(rows["saltzoo"]["s"]) > 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of resident memory is read from /proc")
def test_a_memory_map_of_100_million_samples_takes_the_memory_of_a_strip(tmp_path):
    options = ("--memory", "--contenders", "saltzoo", "--height", "20000", "--width", "5000")
    row = rows_of(tmp_path, "tiling_memory.csv", *options)["saltzoo"]
    assert float(row["added_mib"]) < 150  # the probabilities alone are 381 MiB
    assert float(row["peak_mib"]) < 1024


@pytest.mark.slow
def test_overlaps_have_the_tiles_of_the_grid(tmp_path):
    sizes = ("--height", "120", "--width", "300", "--overlaps", "0", "0.5", "--rounds", "1", "--sections", "5")
    command = [sys.executable, str(SCRIPT.with_name("overlap.py")), *sizes, "--out", str(tmp_path)]
    subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    with (tmp_path / "overlap_cpu.csv").open(newline="") as file:
        none, half = csv.DictReader(file)
    assert (none["tiles"], half["tiles"]) == ("6", "10")  # 2 x 3 and 2 x 5 tiles of 101
    assert float(none["ratio"]) > float(half["ratio"]) == 1
    assert float(none["seam"]) > float(half["seam"]) > 0
    assert 0 <= float(half["iou"]) <= 1


@pytest.mark.parametrize("axis", [0, 1])
def test_a_seam_is_the_step_where_tiles_meet_beside_the_mean_step(load_benchmark, axis):
    seam = load_benchmark("overlap").seam
    ramp = np.arange(12, dtype=np.float32) + 5 * (np.arange(12) >= 4)  # steps of 1, and of 6 between samples 3 and 4
    values = np.stack([ramp] * 12, axis=1 - axis)[None]
    assert seam(values, (4, 4), 0) == pytest.approx((6 + 1) / 2 / (16 / 11))
    assert seam(values, (4, 4), 0.5) == pytest.approx((6 + 8 * 1) / 9 / (16 / 11))  # 2 to 10
    assert np.isnan(seam(values, (12, 12), 0))
