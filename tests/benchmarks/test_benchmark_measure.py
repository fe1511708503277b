"""Helpers of the benchmarks compute what their docstrings say."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
Loader = Callable[[str], Any]


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_turns_alternate(load_benchmark: Loader) -> None:
    turns: list[str] = []
    contenders = {name: (lambda name=name: turns.append(name)) for name in "ab"}
    seconds = load_benchmark("saltzoo.benchmark.timing").alternate(
        contenders, rounds=3, device=torch.device("cpu"), turn_s=0
    )
    assert "".join(turns) == "aabb" + "ab" + "ba" + "ab"
    assert [len(values) for values in seconds.values()] == [3, 3]


def test_a_ratio_is_the_median_of_the_rounds(load_benchmark: Loader) -> None:
    timing, report = load_benchmark("saltzoo.benchmark.timing"), load_benchmark("saltzoo.benchmark.report")
    assert timing.ratios([4, 2, 9], [2, 2, 3]) == (2, 1, 3)
    row = timing.Spread.of([3, 1, 2]).cells("ms")
    assert row == {"ms": 2, "ms_min": 1, "ms_max": 3}
    assert report.markdown([{"ms": 2.0, "ms_min": 1.0, "ms_max": 3.0}], ["ms"]).endswith("| 2 (1 to 3) |")


def test_memory_of_a_step_counts_what_it_holds(load_benchmark: Loader) -> None:
    memory = load_benchmark("saltzoo.benchmark.memory")
    held = torch.nn.Identity()
    mib = memory.step_mib(lambda: torch.empty(3 * memory.MIB, dtype=torch.uint8), held, torch.device("cpu"))
    assert mib == pytest.approx(3, rel=0.01)


def test_saved_memory_counts_storages_once_and_no_parameters(load_benchmark: Loader) -> None:
    saved_mib = load_benchmark("saltzoo.benchmark.memory").saved_mib
    x = torch.randn(1, 4, 256, 256)  # 1 MiB

    class SquarePlusSine(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * x + x.sin()

    assert saved_mib(SquarePlusSine(), x) == 1
    assert saved_mib(torch.nn.Conv2d(4, 8, 1), x) == 1
    assert saved_mib(torch.nn.Sequential(SquarePlusSine(), torch.nn.Sigmoid()), x) == 2
    assert saved_mib(torch.nn.Identity(), x) == 0


def test_a_file_keeps_the_subjects_that_were_not_measured_again(load_benchmark: Loader, tmp_path: Path) -> None:
    write, path = load_benchmark("saltzoo.benchmark.report").write_csv, tmp_path / "file.csv"
    write(path, [{"subject": "a", "ms": 1}, {"subject": "b", "ms": 2}], {"date": "1"}, replacing="subject")
    write(path, [{"subject": "a", "ms": 3}], {"date": "2"}, replacing="subject")
    assert [tuple(row.values()) for row in _read(path)] == [("b", "2", "1"), ("a", "3", "2")]
    write(path, [{"subject": "a", "ms": 4, "new": 5}], {"date": "3"}, replacing="subject")
    assert [tuple(row.values()) for row in _read(path)] == [("b", "2", "", "1"), ("a", "4", "5", "3")]
    write(path, [{"subject": "c", "ms": 6}], {"date": "4"}, replacing="subject")
    assert list(_read(path)[0]) == ["subject", "ms", "date", "new"], "nothing measured is dropped"
    assert [row["new"] for row in _read(path)] == ["", "5", ""]


def test_rows_are_replaced_by_a_number_too(load_benchmark: Loader, tmp_path: Path) -> None:
    write = load_benchmark("saltzoo.benchmark.report").write_csv
    for ms in (1, 2):
        write(tmp_path / "table.csv", [{"height": 400, "ms": ms}], {}, replacing="height")
    assert (tmp_path / "table.csv").read_text() == "height,ms\n400,2\n"


def test_rows_that_share_one_of_two_columns_stay(load_benchmark: Loader, tmp_path: Path) -> None:
    write, path = load_benchmark("saltzoo.benchmark.report").write_csv, tmp_path / "table.csv"
    for ms, fast in ((1, False), (2, True), (3, True)):
        write(path, [{"model": "a", "fast": fast, "ms": ms}], {}, replacing=("model", "fast"))
    assert path.read_text() == "model,fast,ms\na,False,1\na,True,3\n"


def test_the_file_of_results_has_the_columns_of_a_new_row(load_benchmark: Loader) -> None:
    comparison, report = load_benchmark("measure.comparison"), load_benchmark("saltzoo.benchmark.report")
    plan = comparison.Plan("cpu", (64,), batch=1, rounds=1)
    (row,) = comparison.timed_rows(plan, {"subject": "new"}, {"smp": [1.0]}, None)
    columns = [*row, *report.conditions(torch.device("cpu"), "segmentation_models_pytorch")]
    kept = _read(BENCHMARKS / "results" / "versus_smp_cpu.csv")
    assert list(kept[0]) == columns, "the names of columns have changed: run benchmarks/versus.py again"
