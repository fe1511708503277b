"""The benchmarks run and tell the truth about equality and failure; how fast anything is, is not tested."""

from __future__ import annotations

import csv
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
CONDITIONS = {"device", "cores", "threads", "system", "python", "torch", "timm", "saltzoo", "commit", "date"}


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a script as Python does when it is run: its folder comes first."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module


@pytest.fixture
def smp(benchmark: Any) -> Any:
    pytest.importorskip("segmentation_models_pytorch")
    return benchmark("_smp")


def _run(script: str, *options: str) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_throughput_runs_and_writes_a_row_with_its_conditions(tmp_path: Path) -> None:
    table = tmp_path / "table.md"
    options = ["--smoke", "--modes", "train", "--dtypes", "fp32", "--batch", "1", "--repeats", "1", "--seconds", "0"]
    printed = _run("throughput.py", *options, "--out", str(tmp_path), "--markdown", str(table))
    (row,) = _read(tmp_path / "throughput_smoke_cpu.csv")
    assert set(row) >= CONDITIONS | {"images_per_s", "images_per_s_min", "images_per_s_max", "warmup_s", "peak_mib"}
    assert (row["model"], row["mode"], row["batch"], row["size"]) == ("unet_resnet18", "train", "1", "64")
    assert float(row["images_per_s"]) > 0
    assert row["error"] == ""
    line = next(line for line in table.read_text().splitlines() if "unet_resnet18" in line)
    assert line in printed


def _setting(benchmark: Any, **changes: Any) -> Any:
    choice = {"model": "unet_resnet18", "mode": "infer", "dtype": "fp32", "layout": "nchw", "compile": "none"}
    numbers = {"batch": 1, "size": 64, "device": "cpu", "threads": torch.get_num_threads(), "repeats": 1, "seconds": 0}
    return benchmark("throughput").Setting(**(choice | numbers | changes))


def test_a_failing_row_says_why(benchmark: Any) -> None:
    row = benchmark("throughput")._here(_setting(benchmark, size=16))
    assert "at least 32 x 32" in row["error"]


def test_a_row_whose_process_hangs_or_dies_is_a_row(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    throughput = benchmark("throughput")
    late = throughput._in_fresh_process(_setting(benchmark), timeout_s=0.01)
    assert (late["model"], late["images_per_s"], late["error"]) == ("unet_resnet18", None, "took longer than 0.01 s")
    script = tmp_path / "dies.py"
    script.write_text("import os; os.kill(os.getpid(), 9)")
    monkeypatch.setattr(throughput, "__file__", str(script))
    dead = throughput._in_fresh_process(_setting(benchmark), timeout_s=60)
    assert dead["error"] == "exit code -9: nothing"
    assert dead | {"error": ""} == late | {"error": ""}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--models nothing*", "unet_resnet34"),
        ("--batch auto --device cpu", "give numbers"),
        ("--batch 0", "at least 1"),
    ],
)
def test_throughput_refuses_what_it_cannot_do(
    benchmark: Any, options: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["throughput.py", *options.split()])
    with pytest.raises(SystemExit):
        benchmark("throughput").main()
    assert said in capsys.readouterr().err


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


def test_a_file_keeps_the_subjects_that_were_not_measured_again(benchmark: Any, tmp_path: Path) -> None:
    write, path = benchmark("_measure").write_csv, tmp_path / "file.csv"
    write(path, [{"subject": "a", "ms": 1}, {"subject": "b", "ms": 2}], {"date": "1"}, replacing="subject")
    write(path, [{"subject": "a", "ms": 3}], {"date": "2"}, replacing="subject")
    assert [tuple(row.values()) for row in _read(path)] == [("b", "2", "1"), ("a", "3", "2")]
    write(path, [{"subject": "a", "ms": 4, "new": 5}], {"date": "3"}, replacing="subject")
    assert [tuple(row.values()) for row in _read(path)] == [("a", "4", "5", "3")]


def test_equality_is_computed(smp: Any) -> None:
    plan = smp.Plan("cpu", (64,), batch=2, rounds=1)
    images, _ = smp._batch(plan, 64, "nchw")
    networks = smp._networks(plan, images, "nchw")

    def match() -> Any:
        theirs, ours = (smp.inference(networks[name], images, "fp32")() for name in (smp.PEER, smp.OURS))
        return smp.Match.of((theirs,), (ours,))

    same = match()
    assert 0.1 < same.scale < 100, "batch norm is calibrated"
    assert same.difference < 1e-4 * same.scale
    with torch.no_grad():
        networks[smp.OURS].head.conv.bias += 0.25
    assert match().difference == pytest.approx(0.25, rel=1e-3)


def test_scse_pair_shares_its_weights(smp: Any) -> None:
    theirs, ours = smp._scse_pair(torch.device("cpu"))
    x, grad = torch.randn(2, 2, 64, 9, 7)
    match = smp.Match.of(smp._forward_backward(theirs, x, grad), smp._forward_backward(ours, x, grad))
    assert match.difference < 1e-5
    assert match.gradient_difference < 1e-5
    assert all(parameter.grad is None for parameter in ours.parameters())


def test_turns_alternate(benchmark: Any) -> None:
    turns: list[str] = []
    contenders = {name: (lambda name=name: turns.append(name)) for name in "ab"}
    seconds = benchmark("_measure").alternate(contenders, rounds=3, device=torch.device("cpu"), turn_s=0)
    assert "".join(turns) == "aabb" + "ab" + "ba" + "ab"
    assert [len(values) for values in seconds.values()] == [3, 3]


def test_a_ratio_is_the_median_of_the_rounds(benchmark: Any) -> None:
    measure = benchmark("_measure")
    assert measure.ratios([4, 2, 9], [2, 2, 3]) == (2, 1, 3)
    row = measure.Spread.of([3, 1, 2]).cells("ms")
    assert row == {"ms": 2, "ms_min": 1, "ms_max": 3}
    assert measure.markdown([{"ms": 2.0, "ms_min": 1.0, "ms_max": 3.0}], ["ms"]).endswith("| 2 (1 to 3) |")


def test_memory_of_a_step_counts_what_it_holds(benchmark: Any) -> None:
    measure = benchmark("_measure")
    held = torch.nn.Identity()
    mib = measure.step_mib(lambda: torch.empty(3 * measure.MIB, dtype=torch.uint8), held, torch.device("cpu"))
    assert mib == pytest.approx(3, rel=0.01)


@pytest.mark.slow
def test_versus_times_every_row_of_the_network(smp: Any) -> None:
    rows = list(smp.network_rows(smp.Plan("cpu", (64,), batch=1, rounds=1)))
    assert len(rows) == 2 * 2 * 2 * 3  # dtypes, layouts, modes, contenders
    assert all(row["peak_mib"] > 0 for row in rows if row["mode"] == "training step")
    compared = [row for row in rows if row["mode"] == "inference" and row["contender"] == smp.OURS]
    assert [bool(row["rounding"]) for row in compared] == [row["dtype"] == "bf16" for row in compared]


@pytest.mark.slow
def test_versus_times_every_row_of_scse_and_of_imports(smp: Any) -> None:
    plan = smp.Plan("cpu", (32,), batch=1, rounds=1)
    assert len(list(smp.scse_rows(plan))) == 2 * 2 * 2 * 3  # layouts, compiled, modes, contenders
    assert [row["contender"] for row in smp.import_rows(plan)] == ["smp", "saltzoo"]
