"""The benchmark of tiling runs, both tilings agree, and the memory of tiling is that of a strip."""

import csv
import subprocess
import sys
from pathlib import Path

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
