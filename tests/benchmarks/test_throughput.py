"""Throughput: rows survive failures, and each has its setting, its conditions and the share of the floor."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from click.testing import CliRunner
from torch import nn

import saltzoo
from saltzoo.benchmark import Plan, Setting, floor, measure, measure_all, plan, setting
from saltzoo.benchmark.floor import step_gflop
from saltzoo.benchmark.memory import resident_peak_mib
from saltzoo.benchmark.process import fresh_row, row_here
from saltzoo.benchmark.steps import PRECISIONS
from saltzoo.cli import benchmark, main

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "throughput.py"
Loader = Callable[[str], Any]


@pytest.fixture(autouse=True)
def small_product(monkeypatch):
    monkeypatch.setattr(floor, "_SIDES", {"cpu": 64})


def one_setting(**changes: Any) -> Setting:
    lists = {"models": ["saltnet_s"], "layouts": ["nchw"], "batches": (1,)}
    numbers = {"size": 64, "threads": torch.get_num_threads(), "repeats": 2, "warmup": 1, "calls": 1}
    (series,) = Plan(**lists, **numbers).settings()
    return replace(next(series), **changes)


def tiny(_setting: Setting) -> nn.Module:
    return nn.Conv2d(1, 1, 3, padding=1)


def test_a_plan_is_the_product_of_its_lists():
    lists = {"modes": ("infer", "train"), "dtypes": ("float32", "amp"), "layouts": ("nchw", "channels_last")}
    found = [one for series in Plan(["a", "b"], **lists, batches=(1, 4)).settings() for one in series]
    assert len(found) == len(set(found)) == 2 * 2 * 2 * 2 * 2
    assert {one.mode for series in Plan(["a"], **lists, fast=True).settings() for one in series} == {"infer"}


def test_batches_double_until_a_row_fails(monkeypatch):
    monkeypatch.setattr(
        plan, "fresh_row", lambda one, **_: {**asdict(one), "error": "out of memory" if one.batch > 4 else None}
    )
    rows = list(measure_all(Plan(["a", "b"], batches=(setting.AUTO_BATCH,))))
    assert [(row["model"], row["batch"]) for row in rows] == [(name, size) for name in "ab" for size in (1, 2, 4, 8)]
    assert [one.batch for one in islice(next(Plan(["a"], batches=(3, 5)).settings()), 9)] == [3, 5]


def test_a_failing_row_says_why():
    assert "at least 32 x 32" in row_here(one_setting(size=16))["error"]


def test_a_process_that_hangs_or_dies_becomes_a_row(tmp_path):
    def row(code: str, timeout_s: float) -> Any:
        return fresh_row(one_setting(), timeout_s=timeout_s, command=(sys.executable, "-c", code))

    late = row("import time; time.sleep(9)", 0.01)
    assert (late["model"], late["images_per_s"], late["error"]) == ("saltnet_s", None, "took longer than 0.01 s")
    dead = row("import os; os.kill(os.getpid(), 9)", 60)
    assert dead["error"] == "exit code -9: nothing"
    assert dead | {"error": ""} == late | {"error": ""}
    talks = row("print('hello'); print('{\"ms\": 3, \"error\": null}')", 60)
    assert talks == late | {"ms": 3, "error": None}


@pytest.mark.slow
def test_a_row_is_measured_in_a_fresh_process():
    row = fresh_row(one_setting(), timeout_s=300)
    assert not row["error"]
    assert set(row) == {*asdict(one_setting()), *setting.MEASURED}
    assert 0 < row["images_per_s_min"] <= row["images_per_s"] <= row["images_per_s_max"]


def test_operations_are_counted_by_hand():
    side, kernel = 64, 2 * 9
    infer = measure(one_setting(model="tiny"), tiny)
    assert infer["gflop"] == pytest.approx(kernel * side**2 / 1e9, rel=1e-3)
    assert infer["parameters"] == 10
    train = measure(one_setting(model="tiny", mode="train", batch=2), tiny)
    # Forward and the weights' gradient; the images need none.
    assert train["gflop"] == pytest.approx(2 * kernel * side**2 / 1e9, rel=1e-3)
    assert train["share"] == pytest.approx(train["images_per_s"] * train["gflop"] / train["matmul_gflops"], rel=0.01)
    net = saltzoo.create_model("saltnet_s").eval()
    assert step_gflop(lambda: net(torch.zeros(1, 1, 64, 64))) == saltzoo.cost(net, (64, 64)).flops / 1e9


def test_compilation_has_its_own_seconds(monkeypatch):
    calls: list[str] = []

    class Slow(nn.Conv2d):
        def compile(self, *, mode: str) -> None:
            calls.append(mode)

    def make(_setting: Setting) -> nn.Module:
        return Slow(1, 1, 3, padding=1)

    row = measure(one_setting(compile="max-autotune"), make)
    assert calls == ["max-autotune"]
    assert row["compile_s"] is not None
    assert measure(one_setting(), make)["compile_s"] is None


@pytest.mark.parametrize(
    ("name", "weights", "computed"),
    [
        ("float32", torch.float32, torch.float32),
        ("bfloat16", torch.bfloat16, torch.bfloat16),
        ("amp_bfloat16", torch.float32, torch.bfloat16),
        ("amp", torch.float32, torch.float16),
    ],
)
def test_precisions_are_those_of_timm(name, weights, computed):
    seen: dict[str, torch.dtype] = {}

    class Seen(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = super().forward(x)
            seen.update(weights=self.weight.dtype, computed=y.dtype)
            return y

    measure(one_setting(dtype=name), lambda _: Seen(1, 1, 3, padding=1))
    assert seen == {"weights": weights, "computed": computed}
    assert PRECISIONS[name].computed == computed


def test_peak_memory_is_that_of_the_repeats():
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("this system cannot reset a peak")
    early = torch.ones(400 * 2**20, dtype=torch.uint8)  # like memory that a compiler takes and returns
    del early
    before = resident_peak_mib()
    assert before is not None
    row = measure(one_setting(model="tiny"), tiny)
    assert row["peak_mib"] < before - 200


@pytest.mark.parametrize(("how", "forgets"), [("none", True), ("default", True), ("reduce-overhead", False)])
def test_peak_memory_of_a_gpu_is_reset_but_for_cuda_graphs(monkeypatch, how, forgets):
    reset: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset.append)
    setting.forget_peak(torch.device("cuda"), how)
    assert bool(reset) == forgets


def test_events_of_a_gpu_are_read_after_one_synchronisation(monkeypatch):
    log: list[str] = []

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.at = log.count("run")
            log.append("event")

        def elapsed_time(self, other: Any) -> float:
            log.append("read")
            return 1e3 * (other.at - self.at)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: log.append("wait"))
    seconds = setting.repeat(lambda: log.append("run"), repeats=2, calls=3, device=torch.device("cuda"))
    assert log == ["event", *["run"] * 3, "event", *["run"] * 3, "event", "wait", "read", "read"]
    assert seconds == [1, 1]


def fake_rows(asked: Plan, **_: Any) -> Any:
    for series in asked.settings():
        for one in series:
            yield asdict(one) | dict.fromkeys(setting.MEASURED) | {"images_per_s": 10.0 * one.batch}


@pytest.fixture
def throughput(load_benchmark: Loader, monkeypatch: pytest.MonkeyPatch) -> Any:
    script = load_benchmark("throughput")
    monkeypatch.setattr(script, "measure_all", fake_rows)
    return script


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_throughput_replaces_only_the_models_that_it_measured(throughput, tmp_path):
    for options in ("frrn_a,frrn_b --bench both", "frrn_b,saltnet_s"):
        argv = ["--device", "cpu", "--out", str(tmp_path), "--model", *options.split()]
        assert CliRunner().invoke(throughput.main, argv).exit_code == 0
    kept = [(row["model"], row["mode"]) for row in read(tmp_path / "throughput_cpu.csv")]
    assert kept == [("frrn_a", "infer"), ("frrn_a", "train"), ("frrn_b", "infer"), ("saltnet_s", "infer")]


def test_a_peer_has_rows_beside_the_unets_that_it_has(throughput, tmp_path):
    argv = ["--device", "cpu", "--out", str(tmp_path), "--model", "saltnet_s,unet_resnet18_scse", "--peer", "smp"]
    done = CliRunner().invoke(throughput.main, argv)
    assert done.exit_code == 0
    found = {(row["model"], row["library"]) for row in read(tmp_path / "throughput_cpu.csv")}
    assert found == {("saltnet_s", "saltzoo"), ("unet_resnet18_scse", "saltzoo"), ("unet_resnet18_scse", "smp")}
    assert "smp has no saltnet_s" in done.stderr


def test_the_peer_has_the_encoder_and_attention_of_the_model(load_benchmark):
    pytest.importorskip("segmentation_models_pytorch")
    peers = load_benchmark("measure.peers")
    theirs = peers.make(one_setting(model="unet_resnet18_scse", library="smp"))
    alone = timm.create_model("resnet18", in_chans=1, num_classes=0)
    count = [sum(parameter.numel() for parameter in net.parameters()) for net in (theirs.encoder, alone)]
    assert count[0] == count[1]
    assert any("SCSE" in type(module).__name__ for module in theirs.modules())
    assert not peers.has_peer("unet_resnet34_bam_hc_ds_cls")
    assert not peers.has_peer("frrn_a")


def test_plots_are_drawn_from_rows(load_benchmark, tmp_path):
    pytest.importorskip("matplotlib")
    plots = load_benchmark("measure.plots")
    rows = list(fake_rows(Plan(["saltnet_s", "frrn_a"], batches=(1, 2, 4))))
    picture = plots.draw_batches(rows, tmp_path)
    assert picture.read_text().startswith("<?xml")
    assert plots.draw_batches(rows[:1], tmp_path) is None, "one batch is no curve"
    scored = tmp_path / "validate.csv"
    lines = ("0,yes,hflip,.83", "0,no,hflip,.99", "0,yes,none,.82", "each,yes,hflip,.9")
    scored.write_text("model,fold,unseen,tta,salt_map\n" + "".join(f"saltnet_s.w,{line}\n" for line in lines))
    assert plots.fold_scores(scored) == {"saltnet_s.w": 0.83}
    assert plots.draw_scores(rows, scored, tmp_path).exists()
    assert plots.draw_scores(rows, tmp_path / "none.csv", tmp_path) is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--model nothing*", "unet_resnet34"),
        ("--batch-size auto --device cpu", "give numbers"),
        ("--batch-size 4,0", "at least 1"),
        ("--precision fp32", "amp_bfloat16"),
        ("--fast --bench train", "leave one out"),
        ("--fast --bench both", "leave one out"),
        ("--amp --precision bfloat16", "--amp must stand alone, got --precision bfloat16 too"),
        ("--channels-last --layout channels_last,nchw", "--channels-last must stand alone"),
        ("--results-file table.txt", ".csv, .json, .md"),
    ],
)
def test_impossible_options_are_refused(throughput, options, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["benchmark", *options.split()]) == 2
    assert said in capsys.readouterr().err
    assert said in CliRunner().invoke(throughput.main, options.split()).stderr
    assert not list(tmp_path.iterdir())


def test_the_command_has_the_flags_of_timms_benchmark(monkeypatch, tmp_path, capsys):
    from saltzoo import benchmark as package

    asked: list[Plan] = []
    monkeypatch.setattr(package, "measure_all", lambda plan: asked.append(plan) or fake_rows(plan))
    files = [tmp_path / name for name in ("rows.csv", "rows.json", "rows.md")]
    line = "--model saltnet_s --bench both --batch-size 2 --img-size 64 --channels-last --amp --amp-dtype bfloat16"
    for file in files:
        argv = ["benchmark", *line.split(), "--torchcompile", "--device", "cpu", "--results-file", str(file)]
        assert main(argv) == 0
    printed = capsys.readouterr().out
    kept = files[2].read_bytes()
    assert main(argv) == 2
    assert f"already there: {files[2]}. Choose another" in capsys.readouterr().err
    assert files[2].read_bytes() == kept
    assert main([*argv, "--torchcompile-mode", "max-autotune", "--overwrite"]) == 0
    assert asked.pop().compiles == ("max-autotune",)
    want = Plan(["saltnet_s"], modes=("infer", "train"), batches=(2,), size=64, threads=torch.get_num_threads())
    want = replace(want, layouts=("channels_last",), dtypes=("amp_bfloat16",), compiles=("default",))
    assert asked == [want] * 3
    assert [row["images_per_s"] for row in read(files[0])] == ["20.0", "20.0"]
    assert {row["mode"] for row in json.loads(files[1].read_text())} == {"infer", "train"}
    line = next(line for line in kept.decode().splitlines() if "train" in line)
    assert line in printed


def test_help_names_the_choices_of_the_library():
    assert set(PRECISIONS) == set(benchmark.PRECISIONS)


@pytest.mark.slow
def test_a_smoke_run_writes_rows_with_their_conditions(tmp_path):
    command = [
        sys.executable,
        str(SCRIPT),
        "--smoke",
        "--bench",
        "train",
        "--precision",
        "float32",
        "--batch-size",
        "1",
    ]
    done = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    (row,) = read(tmp_path / "throughput_smoke_cpu.csv")
    assert set(row) >= {"device", "instructions", "cores", "threads", "torch", "saltzoo", "commit", "date", "tf32"}
    assert (row["mode"], row["batch"], row["size"], row["error"]) == ("train", "1", "64", "")
