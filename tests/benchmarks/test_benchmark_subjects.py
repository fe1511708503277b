"""Subjects of the comparison: a pair computes the same, and every row is measured. Speed is not tested."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch

Loader = Callable[[str], Any]


@pytest.fixture
def networks(load_benchmark: Loader) -> Any:
    pytest.importorskip("segmentation_models_pytorch")
    return load_benchmark("subjects.networks")


@pytest.fixture
def alone(load_benchmark: Loader) -> Any:
    pytest.importorskip("segmentation_models_pytorch")
    return load_benchmark("subjects.alone")


def test_equality_is_computed(networks: Any) -> None:
    plan = networks.Plan("cpu", (64,), batch=2, rounds=1, turn_s=0)
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


def test_pyramid_pooling_agrees_after_aligning_the_peer(alone: Any) -> None:
    theirs, ours = alone._pyramid_pooling_pair(torch.device("cpu"))
    x = torch.randn(2, 256, 13, 9)
    with torch.no_grad():
        want, got, smp = alone._as_ours(theirs, x), ours(x), theirs(x)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(got[:, 256:320], smp[:, :64], rtol=1e-5, atol=1e-5)  # one cell: nothing to interpolate
    assert (got[:, 320:] - smp[:, 64:256]).abs().max() > 1e-2  # align_corners


def test_a_network_of_smp_is_padded_to_a_size_that_it_accepts(networks: Any) -> None:
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
    unused = sum(
        parameter.numel() for name in ("layer3", "layer4") for parameter in getattr(pspnet.encoder, name).parameters()
    )
    x = x[..., :33].expand(2, -1, -1, -1)
    assert (
        networks._peer_note(padded, x) == f"padded to 40 x 40, as it has to be; {unused} of its parameters take no part"
    )
    assert networks._peer_note(padded, x[..., :24, :24]) == f"{unused} of its parameters take no part"


@pytest.mark.slow
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
    list(
        networks._unlike_rows(
            networks.Plan("cpu", (33,), batch=2, rounds=1, turn_s=0), "pspnet", networks.smp.PSPNet, ours
        )
    )
    assert [(mode, dtype) for mode, dtype, _ in modes[:2]] == [("inference", "fp32"), ("training step", "fp32")]
    assert modes[0][2] == {False}
    assert True in modes[1][2]


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


@pytest.mark.slow
def test_versus_times_every_row_of_the_network(networks: Any) -> None:
    rows = list(networks.unet_rows(networks.Plan("cpu", (64,), batch=1, rounds=1, turn_s=0)))
    assert len(rows) == 2 * 2 * 2 * 3  # dtypes, layouts, modes, contenders
    assert all(row["peak_mib"] > 0 for row in rows if row["mode"] == "training step")
    compared = [row for row in rows if row["mode"] == "inference" and row["contender"] == networks.OURS]
    assert [bool(row["rounding"]) for row in compared] == [row["dtype"] == "bf16" for row in compared]


@pytest.mark.slow
def test_versus_times_every_row_of_other_networks(networks: Any) -> None:
    plan = networks.Plan("cpu", (33,), batch=2, rounds=1, turn_s=0)
    pspnet, fpn = list(networks.pspnet_rows(plan)), list(networks.fpn_rows(plan))
    assert (len(pspnet), len(fpn)) == (2 * 2 * 6, 2 * 2 * 3)  # dtypes, modes, contenders
    for row in (*pspnet, *fpn):
        assert row["difference"] is None
        assert row["parameters"] > 1e6
        assert row["gflop"] > 0
        assert row["note"] == "another network" if row["contender"] != networks.PEER else "padded to" in row["note"]


@pytest.mark.parametrize("subject", ["scse", "bam"])
def test_versus_times_every_row_of_a_layer(alone: Any, monkeypatch: pytest.MonkeyPatch, subject: str) -> None:
    monkeypatch.setattr(torch, "compile", lambda layer: layer)  # a slow test compiles
    rows = list(getattr(alone, f"{subject}_rows")(alone.Plan("cpu", (32,), batch=1, rounds=1, turn_s=0)))
    assert len(rows) == 2 * 2 * 2 * 3  # layouts, compiled, modes, contenders
    assert [row for row in rows if row["saved_mib"]] == [
        row for row in rows if row["mode"] != "forward" and row["compile"] == "none" and row["contender"] != alone.COPY
    ]
    assert [row["difference"] is None for row in rows] == [row["contender"] != alone.OURS for row in rows]


@pytest.mark.slow
def test_versus_compiles_layers(alone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone, "LAYOUTS", {"nchw": torch.contiguous_format})
    rows = list(alone.scse_rows(alone.Plan("cpu", (32,), batch=1, rounds=1, turn_s=0)))
    compiled = [row for row in rows if row["compile"] == "default" and row["contender"] == alone.OURS]
    assert [row["mode"] for row in compiled] == ["forward", "forward and backward"]
    assert all(row["difference"] < 1e-5 for row in compiled)


def test_versus_times_every_row_of_pyramid_pooling(alone: Any) -> None:
    rows = list(alone.pyramid_pooling_rows(alone.Plan("cpu", (32,), batch=2, rounds=1, turn_s=0)))
    assert len(rows) == 2 * 2 * 2  # layouts, modes, contenders


@pytest.mark.slow
def test_versus_times_imports(alone: Any) -> None:
    rows = list(alone.import_rows(alone.Plan("cpu", (32,), batch=1, rounds=1, turn_s=0)))
    assert [row["contender"] for row in rows] == ["smp", "saltzoo"]


def test_shares_of_parts_sum_to_the_whole(load_benchmark: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = load_benchmark("subjects.parts")
    small = {"base_channels": 8, "lane_channels": 4}
    monkeypatch.setattr(parts, "_FRRN", {"frrn_a": small, "frrn_b": small})
    rows = list(parts.frrn_rows(parts.Plan("cpu", (37,), batch=2, rounds=2)))
    assert set(rows[0]) >= {*parts.COLUMNS, "ms_min", "share_max", "rounds"}
    for model, mode in product(("frrn_a", "frrn_b"), ("inference", "forward and backward")):
        whole, *others = (row for row in rows if (row["model"], row["mode"]) == (model, mode))
        assert (whole["part"], others[-1]["part"], whole["share"]) == ("whole", "rest", 1)
        assert sum(row["gflop"] for row in others) == pytest.approx(whole["gflop"], rel=1e-3)
        assert sum(row["share"] for row in others) == pytest.approx(1, rel=0.01)  # medians of two are means
        assert all(0 < row["ms"] < whole["ms"] for row in others)
    first, second = (
        {(row["model"], row["part"]): row["gflop"] for row in rows if row["mode"] == mode}
        for mode in ("inference", "forward and backward")
    )
    for (model, part), operations in first.items():  # backward: the gradients of weights, and of all but the image
        assert part == "rest" or 2 <= second[model, part] / operations <= 3.01
