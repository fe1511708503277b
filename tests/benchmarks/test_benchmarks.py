"""The benchmarks run and tell the truth about equality and failure; how fast anything is, is not tested."""

from __future__ import annotations

import csv
import subprocess
import sys
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

import saltzoo
from saltzoo.data import stratified_folds
from saltzoo.draw import save_png
from saltzoo.metrics import iou_score, salt_map

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CONDITIONS = {"device", "cores", "threads", "system", "python", "torch", "timm", "saltzoo", "commit", "date"}


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a script as Python does when it is run: its folder comes first."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module


@pytest.fixture
def networks(benchmark: Any) -> Any:
    pytest.importorskip("segmentation_models_pytorch")
    return benchmark("_subjects_networks")


@pytest.fixture
def alone(benchmark: Any) -> Any:
    pytest.importorskip("segmentation_models_pytorch")
    return benchmark("_subjects_alone")


def _run(script: str, *options: str) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
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


def test_throughput_replaces_only_the_models_that_it_measured(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    throughput = benchmark("throughput")

    def rows(args: Any, models: list[str]) -> Any:
        for model, mode in product(models, args.modes):
            yield vars(_setting(benchmark, model=model, mode=mode)) | dict.fromkeys(throughput.MEASURED)

    monkeypatch.setattr(throughput, "_measure_all", rows)
    for options in ("frrn_a frrn_b", "frrn_b saltnet_s --modes infer"):
        argv = ["throughput.py", "--device", "cpu", "--out", str(tmp_path), "--models", *options.split()]
        monkeypatch.setattr(sys, "argv", argv)
        throughput.main()
    kept = [(row["model"], row["mode"]) for row in _read(tmp_path / "throughput_cpu.csv")]
    assert kept == [("frrn_a", "infer"), ("frrn_a", "train"), ("frrn_b", "infer"), ("saltnet_s", "infer")]


def test_peak_memory_is_that_of_the_repeats(benchmark: Any) -> None:
    throughput = benchmark("throughput")
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("this system does not forget a peak")
    early = torch.ones(400 * 2**20, dtype=torch.uint8)  # as a compiler might take, and give back
    del early
    before = throughput.resident_peak_mib()
    row = throughput._measure(_setting(benchmark, model="saltnet_s"))
    assert row["peak_mib"] < before - 200


@pytest.mark.parametrize(("how", "forgets"), [("none", True), ("default", True), ("reduce-overhead", False)])
def test_peak_memory_of_a_gpu_is_reset_but_for_cuda_graphs(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch, how: str, forgets: bool
) -> None:
    reset: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset.append)
    benchmark("throughput")._forget_peak(torch.device("cuda"), how)
    assert bool(reset) == forgets


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


def test_a_file_keeps_the_subjects_that_were_not_measured_again(benchmark: Any, tmp_path: Path) -> None:
    write, path = benchmark("_measure").write_csv, tmp_path / "file.csv"
    write(path, [{"subject": "a", "ms": 1}, {"subject": "b", "ms": 2}], {"date": "1"}, replacing="subject")
    write(path, [{"subject": "a", "ms": 3}], {"date": "2"}, replacing="subject")
    assert [tuple(row.values()) for row in _read(path)] == [("b", "2", "1"), ("a", "3", "2")]
    write(path, [{"subject": "a", "ms": 4, "new": 5}], {"date": "3"}, replacing="subject")
    assert [tuple(row.values()) for row in _read(path)] == [("b", "2", "", "1"), ("a", "4", "5", "3")]
    write(path, [{"subject": "c", "ms": 6}], {"date": "4"}, replacing="subject")
    assert list(_read(path)[0]) == ["subject", "ms", "date", "new"], "nothing measured is dropped"
    assert [row["new"] for row in _read(path)] == ["", "5", ""]


def test_equality_is_computed(networks: Any) -> None:
    plan = networks.Plan("cpu", (64,), batch=2, rounds=1)
    images, _ = networks.batch(plan, 64, "nchw")
    nets = networks._unets(plan, images, "nchw")

    def match() -> Any:
        theirs, ours = (networks.inference(nets[name], images, "fp32")() for name in (networks.PEER, networks.OURS))
        return networks.Match.of((theirs,), (ours,))

    same = match()
    assert 0.1 < same.scale < 100, "batch norm is calibrated"
    assert same.difference < 1e-4 * same.scale
    with torch.no_grad():
        nets[networks.OURS].head.conv.bias += 0.25
    assert match().difference == pytest.approx(0.25, rel=1e-3)


@pytest.mark.parametrize("pair", ["_scse_pair", "_bam_pair"])
@pytest.mark.parametrize("mode", [False, True])
def test_a_pair_shares_its_weights(alone: Any, pair: str, mode: bool) -> None:
    theirs, ours = (module.train(mode) for module in getattr(alone, pair)(torch.device("cpu")))
    x, grad = torch.randn(2, 3, 64, 9, 7)
    match = alone.Match.of(alone.forward_backward(theirs, x, grad), alone.forward_backward(ours, x, grad))
    assert match.difference < 1e-5
    assert match.gradient_difference < 1e-5
    assert all(parameter.grad is None for parameter in ours.parameters())
    with torch.no_grad():
        list(ours.parameters())[-1].add_(1)
    assert alone.Match.of((theirs(x),), (ours(x),)).difference > 1e-2


def test_pyramid_pooling_is_compared_where_it_compares(alone: Any) -> None:
    theirs, ours = alone._pyramid_pooling_pair(torch.device("cpu"))
    x = torch.randn(2, 256, 13, 9)
    with torch.no_grad():
        want, got, smp = alone._as_ours(theirs, x), ours(x), theirs(x)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(got[:, 256:320], smp[:, :64], rtol=1e-5, atol=1e-5)  # one cell: nothing to interpolate
    assert (got[:, 320:] - smp[:, 64:256]).abs().max() > 1e-2  # align_corners


def test_a_network_of_smp_gets_a_size_that_it_takes(networks: Any) -> None:
    torch.manual_seed(0)
    pspnet = networks.smp.PSPNet("resnet18", encoder_weights=None, in_channels=1, classes=1).eval()
    padded, x = networks.Padded(pspnet), torch.randn(1, 1, 33, 40)
    with pytest.raises(RuntimeError, match="divisible by 8"):
        pspnet(x)
    with torch.no_grad():
        logits = pspnet(torch.nn.functional.pad(x, (0, 0, 0, 7)))
        torch.testing.assert_close(padded(x), logits[..., :33, :])
    assert (padded.padded(33), padded.padded(40)) == (40, 40)
    cost = networks._cost(padded, 33)
    assert cost["parameters"] == sum(parameter.numel() for parameter in pspnet.parameters())
    assert cost == networks._cost(padded, 40)
    idle = sum(
        parameter.numel() for name in ("layer3", "layer4") for parameter in getattr(pspnet.encoder, name).parameters()
    )
    x = x[..., :33].expand(2, -1, -1, -1)
    assert networks._of_peer(padded, x) == f"padded to 40 x 40, as it has to be; {idle} of its parameters take no part"
    assert networks._of_peer(padded, x[..., :24, :24]) == f"{idle} of its parameters take no part"


def test_a_network_is_in_the_mode_that_is_timed(networks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    models, modes, infer = [], [], networks.inference

    def inference(model: torch.nn.Module, *args: Any) -> Any:
        models.append(model)
        return infer(model, *args)

    def compare(plan: Any, what: dict[str, str], *_: Any, **__: Any) -> list[Any]:
        modes.append((what["mode"], what["dtype"], {module.training for model in models for module in model.modules()}))
        return []

    monkeypatch.setattr(networks, "inference", inference)
    monkeypatch.setattr(networks, "compare", compare)
    ours = {"small": {"name": "saltnet_s", "deep_supervision": True}}
    list(networks._unlike_rows(networks.Plan("cpu", (33,), batch=2, rounds=1), "pspnet", networks.smp.PSPNet, ours))
    assert [(mode, dtype) for mode, dtype, _ in modes[:2]] == [("inference", "fp32"), ("training step", "fp32")]
    assert modes[0][2] == {False}
    assert True in modes[1][2]


def test_saved_memory_counts_storages_once_and_no_parameters(benchmark: Any) -> None:
    compare = benchmark("_compare")
    x = torch.randn(1, 4, 256, 256)  # 1 MiB

    class SquarePlusSine(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * x + x.sin()

    assert compare.saved_mib(SquarePlusSine(), x) == 1
    assert compare.saved_mib(torch.nn.Conv2d(4, 8, 1), x) == 1
    assert compare.saved_mib(torch.nn.Sequential(SquarePlusSine(), torch.nn.Sigmoid()), x) == 2
    assert compare.saved_mib(torch.nn.Identity(), x) == 0


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_scse_takes_two_thirds_of_smps_memory_at_most(alone: Any, layout: torch.memory_format) -> None:
    x = torch.randn(2, 64, 64, 64).to(memory_format=layout)
    modules = dict(zip((alone.PEER, alone.OURS), alone._scse_pair(torch.device("cpu")), strict=True))
    steps = {name: lambda m=m: alone.forward_backward(m, x, x) for name, m in modules.items()}
    for step in steps.values():
        step()
    memory = alone._memory(modules, steps, x)
    theirs, ours = memory[alone.PEER], memory[alone.OURS]
    assert ours["peak_mib"] <= 2 / 3 * theirs["peak_mib"]
    assert ours["saved_mib"] <= theirs["saved_mib"]  # both keep the map and the gate of its pixels
    assert 2 <= ours["saved_mib"] < 2.1  # the map is 2 MiB


def test_versus_gives_each_subject_its_own_settings_and_table(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("segmentation_models_pytorch")
    versus = benchmark("versus")
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


def test_the_file_of_results_has_the_columns_of_a_new_row(benchmark: Any) -> None:
    compare, measure = benchmark("_compare"), benchmark("_measure")
    plan = compare.Plan("cpu", (64,), batch=1, rounds=1)
    (row,) = compare.timed_rows(plan, {"subject": "new"}, {"smp": [1.0]}, None)
    columns = [*row, *measure.conditions(torch.device("cpu"), "segmentation_models_pytorch")]
    kept = _read(BENCHMARKS / "results" / "versus_smp_cpu.csv")
    assert list(kept[0]) == columns, "the names of columns have changed: run benchmarks/versus.py again"


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
def test_versus_times_every_row_of_the_network(networks: Any) -> None:
    rows = list(networks.unet_rows(networks.Plan("cpu", (64,), batch=1, rounds=1)))
    assert len(rows) == 2 * 2 * 2 * 3  # dtypes, layouts, modes, contenders
    assert all(row["peak_mib"] > 0 for row in rows if row["mode"] == "training step")
    compared = [row for row in rows if row["mode"] == "inference" and row["contender"] == networks.OURS]
    assert [bool(row["rounding"]) for row in compared] == [row["dtype"] == "bf16" for row in compared]


@pytest.mark.slow
def test_versus_times_every_row_of_other_networks(networks: Any) -> None:
    plan = networks.Plan("cpu", (33,), batch=2, rounds=1)
    pspnet, fpn = list(networks.pspnet_rows(plan)), list(networks.fpn_rows(plan))
    assert (len(pspnet), len(fpn)) == (2 * 2 * 6, 2 * 2 * 3)  # dtypes, modes, contenders
    for row in (*pspnet, *fpn):
        assert row["difference"] is None
        assert row["parameters"] > 1e6
        assert row["gflop"] > 0
        assert row["note"] == "another network" if row["contender"] != networks.PEER else "padded to" in row["note"]


@pytest.mark.slow
def test_versus_times_every_row_of_layers_and_of_imports(alone: Any) -> None:
    plan = alone.Plan("cpu", (32,), batch=1, rounds=1)
    for rows in (list(alone.scse_rows(plan)), list(alone.bam_rows(plan))):
        assert len(rows) == 2 * 2 * 2 * 3  # layouts, compiled, modes, contenders
        assert [row for row in rows if row["saved_mib"]] == [
            row
            for row in rows
            if row["mode"] != "forward" and row["compile"] == "none" and row["contender"] != alone.COPY
        ]
        assert [row["difference"] is None for row in rows] == [row["contender"] != alone.OURS for row in rows]
    assert len(list(alone.pyramid_pooling_rows(plan))) == 2 * 2 * 2  # layouts, modes, contenders
    assert [row["contender"] for row in alone.import_rows(plan)] == ["smp", "saltzoo"]


def test_validate_scores_the_fold_as_a_user_would(tmp_path: Path) -> None:
    tiles = saltzoo.data.synthetic_tiles(20, seed=3)
    for name, image, mask in zip(tiles.ids, tiles.images, tiles.require_masks(), strict=True):
        save_png(image, tmp_path / "data" / "train" / "images" / f"{name}.png")
        save_png(mask.astype("uint8") * 255, tmp_path / "data" / "train" / "masks" / f"{name}.png")
    torch.manual_seed(0)
    model = saltzoo.create_model("unet", encoder="test_resnet", decoder_channels=(8,) * 5)
    read = saltzoo.data.read_tgs(tmp_path / "data")  # in the order of the files
    held_out = read.select(stratified_folds(read.coverage) == 1)
    card = {"name": "salt_map", "value": 0.5, "held_out": held_out.fingerprint}
    folder = saltzoo.save_pretrained(model, tmp_path / "model", metrics=[card])
    options = ["--data", str(tmp_path / "data"), "--fold", "1", "--device", "cpu", "--out", str(tmp_path)]
    _run("validate.py", "--model", f"local-dir:{folder}", *options)
    rows = {row["tta"]: row for row in _read(tmp_path / "validate_cpu.csv")}
    for tta, row in rows.items():
        masks = saltzoo.predict(model, held_out.images, tta=None if tta == "none" else tta) > 0.5
        assert float(row["salt_map"]) == pytest.approx(salt_map(masks, held_out.require_masks()).item(), abs=1e-6)
        assert float(row["iou"]) == pytest.approx(
            iou_score(masks, held_out.require_masks(), average="per_image").item(), abs=1e-6
        )
        assert (row["tiles"], row["fold"], row["unseen"]) == (str(len(held_out)), "1", "yes")
    assert set(rows) == {"none", "hflip"}


@pytest.mark.slow
def test_loading_tells_what_weights_cost_beside_building(tmp_path: Path) -> None:
    _run("loading.py", "--models", "saltnet_s.tgs", "--rounds", "2", "--out", str(tmp_path))
    rows = {row["from"]: row for row in _read(tmp_path / "loading_cpu.csv")}
    assert list(rows) == ["built", "package", "cache"]
    assert float(rows["built"]["times_building"]) == 1.0
    for row in rows.values():
        assert 0 < float(row["ms_min"]) <= float(row["ms"]) <= float(row["ms_max"])
    slowest = float(rows["cache"]["ms_max"]) / float(rows["built"]["ms_min"])
    assert 0 < float(rows["cache"]["times_building"]) <= slowest * 1.001  # four digits are kept


@pytest.mark.parametrize(("told", "word"), [("the same", "yes"), ("5 tiles, ids 00c0ffee", "no"), (None, "unknown")])
def test_validate_tells_what_may_have_been_seen(benchmark: Any, tmp_path: Path, told: str | None, word: str) -> None:
    tiles = saltzoo.data.synthetic_tiles(3, seed=3)
    card = {"held_out": tiles.fingerprint if told == "the same" else told} if told else {}
    model = saltzoo.create_model("unet", encoder="test_resnet", decoder_channels=(8,) * 5)
    folder = saltzoo.save_pretrained(model, tmp_path, metrics=[{"name": "salt_map", "value": 0.5, **card}])
    assert benchmark("validate").unseen(f"local-dir:{folder}", tiles) == word
