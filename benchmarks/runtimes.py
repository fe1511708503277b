"""Time one network by every way to run it on a CPU: eager, optimised, compiled, ONNX Runtime, OpenVINO.

    python benchmarks/runtimes.py --peer smp
    python benchmarks/runtimes.py --peer smp --rounds 3 --only eager optimised onnx

The network is SMP's U-Net on resnet34 with scSE; ours has the same weights (`saltzoo.convert.from_smp`). All
contenders alternate in one process, so that a busy machine slows all of them. A ratio is the median of the ratios of
the rounds to SMP in eager mode, channels_last, with the lowest and highest; above 1, the contender is faster. Each
contender's largest difference from SMP's logits is reported before it is timed. SMP's files are those that a user of
SMP writes: `torch.onnx.export` and `openvino.convert_model` of its network, not this library's export. "Compiled" has
frozen weights, as inductor calls it. "int8" is calibrated on synthetic tiles. Needs
`pip install -e ".[bench,onnx,openvino]"`; a library that is missing leaves its rows out.

Writes runtimes_smp_cpu.csv, each line with its conditions.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import segmentation_models_pytorch as smp
import torch
from measure.comparison import Plan, batch, calibrate
from torch import Tensor, nn

from saltzoo.benchmark.report import conditions, describe, markdown, slug, write_csv
from saltzoo.benchmark.timing import Run, Spread, alternate, ratios
from saltzoo.contracts import SegmentationModel
from saltzoo.convert import from_smp
from saltzoo.data import synthetic_tiles
from saltzoo.deploy import export, load, optimize
from saltzoo.deploy.runtimes import FORMATS

PEER = "smp eager"
WAYS = ("eager", "optimised", "compiled", "onnx", "openvino", "bf16", "int8")
COLUMNS = ("contender", "ms", "images_s", "ratio", "difference", "scale")


def main() -> None:
    """Build the contenders, compare their results, time them in turns and write a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", choices=["smp"], required=True, help="smp: segmentation_models_pytorch")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS), help="ways besides SMP's eager mode")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the CSV")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    device = torch.device("cpu")
    where = conditions(device, "segmentation_models_pytorch", "onnxruntime", "openvino")
    print(describe(where), flush=True)
    images, _ = batch(Plan("cpu", (args.size,), args.batch, args.rounds), args.size, "channels_last")
    with TemporaryDirectory() as folder:
        calls = contenders(images, args.only, Path(folder))
        want = calls[PEER]()
        matches = {
            name: {"difference": _largest(call() - want), "scale": _largest(want)} for name, call in calls.items()
        }
        for name, match in matches.items():
            print(f"{name}: differs by {match['difference']:.2g} of {match['scale']:.2g}", flush=True)
        runs: dict[str, Run] = dict(calls.items())
        times = alternate(runs, rounds=args.rounds, device=device)
    shape = "x".join(map(str, images.shape))
    rows = [
        {
            "subject": "unet_resnet34_scse of smp",
            "shape": shape,
            "contender": name,
            **Spread.of([1e3 * value for value in seconds]).cells("ms"),
            **Spread.of([args.batch / value for value in seconds]).cells("images_s"),
            **ratios(times[PEER], seconds).cells("ratio"),
            **matches[name],
            "rounds": args.rounds,
        }
        for name, seconds in times.items()
    ]
    path = args.out / f"runtimes_{args.peer}_{slug(device)}.csv"
    write_csv(path, rows, where, replacing="subject")
    print(f"\n{markdown(rows, COLUMNS)}\n\n{path}")


def contenders(images: Tensor, ways: list[str], folder: Path) -> dict[str, Callable[[], Tensor]]:
    """Return the calls to time by name, SMP's eager mode first."""
    torch.manual_seed(0)
    theirs = smp.Unet("resnet34", encoder_weights=None, in_channels=1, classes=1, decoder_attention_type="scse")
    calibrate(theirs, images)
    theirs.eval().to(memory_format=torch.channels_last)
    ours = from_smp(theirs).eval().to(memory_format=torch.channels_last)
    fast = optimize(ours, example=images[:2])
    calls = {PEER: _call(theirs, images)}
    if "eager" in ways:
        calls["saltzoo eager"] = _call(ours, images)
    if "optimised" in ways:
        calls["saltzoo optimised"] = _call(fast, images)
    if "compiled" in ways:
        calls |= {f"{name}, compiled": _compiled(net, images) for name, net in (("smp", theirs), ("saltzoo", fast))}
    if "bf16" in ways:
        calls["saltzoo optimised, bf16"] = _call(optimize(ours, dtype=torch.bfloat16, example=images[:2]), images)
    for format, of_peer in (("onnx", _peer_onnx), ("openvino", _peer_openvino)):
        if format in ways:
            try:
                calls[f"smp, {format}"] = of_peer(theirs, images, folder)
                calls[f"saltzoo, {format}"] = _exported(ours, images, folder / f"ours{FORMATS[format].suffix}")
            except ImportError as error:
                print(f"{format}: left out, {error}", flush=True)
    if "int8" in ways:
        path = folder / "int8.onnx"
        # Masks of random weights mean nothing, and none is above this threshold; the row has the difference.
        options = {"int8": synthetic_tiles(32, seed=1, size=images.shape[-1]).images, "threshold": 0.999999}
        calls["saltzoo, onnx int8"] = _exported(ours, images, path, **options)
    return calls


def _exported(model: SegmentationModel, images: Tensor, path: Path, **options: Any) -> Callable[[], Tensor]:
    """Return the call of a file of saltzoo's export, of one size."""
    return _call(load(export(model, path, size=(images.shape[2], images.shape[3]), **options)), images)


def _peer_onnx(network: nn.Module, images: Tensor, folder: Path) -> Callable[[], Tensor]:
    """Return the call of SMP's network as torch's own exporter writes it, with ONNX Runtime's default settings."""
    runtime = import_module("onnxruntime")
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    path = folder / "smp.onnx"
    torch.onnx.export(plain, (images.contiguous(),), path, dynamo=True, verbose=False)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    values = {session.get_inputs()[0].name: images.contiguous().numpy()}
    return lambda: torch.from_numpy(session.run(None, values)[0])


def _peer_openvino(network: nn.Module, images: Tensor, folder: Path) -> Callable[[], Tensor]:
    """Return the call of SMP's network as OpenVINO converts it, in float32."""
    openvino = import_module("openvino")
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    graph = openvino.convert_model(plain, example_input=images.contiguous(), input=list(images.shape))
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(graph, "CPU", settings)
    values = images.contiguous().numpy()
    return lambda: torch.from_numpy(compiled(values)[0].copy())


def _call(network: nn.Module, images: Tensor) -> Callable[[], Tensor]:
    @torch.inference_mode()
    def run() -> Tensor:
        return network(images)

    return run


def _compiled(network: nn.Module, images: Tensor) -> Callable[[], Tensor]:
    """Return the call of a network compiled by inductor with frozen weights."""
    compiled = torch.compile(network, options={"freezing": True})

    @torch.no_grad()  # in inference mode inductor does not freeze
    def run() -> Tensor:
        return compiled(images)

    run()
    return run


def _largest(values: Tensor) -> float:
    return float(f"{values.abs().max().item():.3g}")


if __name__ == "__main__":
    main()
