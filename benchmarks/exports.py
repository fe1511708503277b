"""Export every model of the catalog to every format, and write what sizes each file takes or why there is none.

    python benchmarks/exports.py
    python benchmarks/exports.py --only "unet_resnet*" --formats onnx

Weights are random. A file counts once its logits agree with the model's at three shapes (`saltzoo.deploy.export`).
docs/make_models.py shows the result in docs/models.md. Takes about a minute a model on one thread. Lines of models that
are not asked for stay. Needs `pip install -e ".[onnx,openvino]"`.

Writes results/exports.csv after each model, each line with its conditions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import saltzoo
from saltzoo.benchmark.report import conditions, describe, write_csv
from saltzoo.deploy import export_rows
from saltzoo.deploy.runtimes import FORMATS

PATH = Path(__file__).parent / "results" / "exports.csv"


def main() -> None:
    """Export each model in turn and write its line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", metavar="GLOB", help="models by name")
    parser.add_argument("--formats", nargs="+", choices=list(FORMATS), default=list(FORMATS))
    parser.add_argument("--out", type=Path, default=PATH, help="CSV to write")
    args = parser.parse_args()

    where = conditions(torch.device("cpu"), "onnx", "onnxruntime", "openvino")
    print(describe(where), flush=True)
    for name, *answers in export_rows(saltzoo.list_models(args.only), formats=args.formats):
        row = {"model": name, **{f"{one}_sizes": answer for one, answer in zip(args.formats, answers, strict=True)}}
        print(", ".join(f"{key}: {value}" for key, value in row.items()), flush=True)
        write_csv(args.out, [row], where, replacing="model")


if __name__ == "__main__":
    main()
