"""Train a saltzoo model by a recipe.

    python examples/train.py                                        # synthetic tiles, about two minutes on 2 cores
    python examples/train.py --recipe examples/recipes/saltnet_s.tgs.toml --data DIR --out runs/fold0
    python examples/train.py --data DIR --model unet_resnet34_scse --epochs 40 --amp bf16 --out runs/mine
    torchrun --nproc-per-node 2 examples/train.py ...               # several processes (gloo on CPUs, nccl on GPUs)

DIR is the competition's download: train.zip, or train/images and train/masks; a recipe with a [student] reads its
unlabelled tiles too, test.zip or test/images. What is told on the command line goes before the recipe. The folder
--out then holds `model/` (the checkpoint: saltzoo.create_model("local-dir:OUT/model")), `predictions.png`, `log.csv`,
and `last.pt`, from which --resume goes on with the same options. Ctrl-C keeps what was written.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import saltzoo
from saltzoo.training import Recipe, cross_validate, fit, read_recipe

DEFAULTS: dict[str, Any] = {"model": {"name": "unet_resnet18"}, "epochs": 8}
ALL_FOLDS = "all"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, help="a TOML file; examples/recipes has some")
    parser.add_argument("--data", help="folder of the competition's files; without it, synthetic tiles")
    parser.add_argument("--model", help="a name of saltzoo.list_models()")
    parser.add_argument("--options", nargs="*", default=[], metavar="KEY=VALUE", help="of the model: encoder=resnet50")
    parser.add_argument("--pretrained-encoder", action="store_true", help="start from ImageNet weights")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int, help="tiles a step, over all processes")
    parser.add_argument("--lr", type=float, help="peak rate")
    parser.add_argument("--amp", choices=["off", "bf16"])
    parser.add_argument(
        "--fold",
        type=fold_or_all,
        help='which fold validates; "all" for one run after another, in OUT/fold0, OUT/fold1, ...',
    )
    parser.add_argument("--seed", type=int)
    parser.add_argument("--synthetic-tiles", type=int, default=400, help="how many to make without --data")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/train"))
    parser.add_argument("--resume", action="store_true", help="go on from --out")
    parser.add_argument("--save-every", type=int, default=1, metavar="EPOCHS", help="how often --out is written")
    return parser.parse_args(argv)


def fold_or_all(word: str) -> int | str:
    """A number, or "all"."""
    if word != ALL_FOLDS and not word.isdecimal():
        raise argparse.ArgumentTypeError(f"a number or {ALL_FOLDS!r}, got {word!r}")
    return word if word == ALL_FOLDS else int(word)


def build_recipe(args: argparse.Namespace) -> Recipe:
    """The file's recipe, or a short one, with what the command line says."""
    recipe = Recipe.from_dict(DEFAULTS) if args.recipe is None else read_recipe(args.recipe)
    model = replace(
        recipe.model,
        name=args.model or recipe.model.name,
        options={**recipe.model.options, **model_options(args.options)},
        pretrained_encoder=args.pretrained_encoder or recipe.model.pretrained_encoder,
    )
    optimizer = recipe.optimizer if args.lr is None else replace(recipe.optimizer, lr=args.lr)
    told = {"epochs": args.epochs, "batch_size": args.batch_size, "amp": args.amp, "seed": args.seed}
    if args.fold != ALL_FOLDS:
        told["fold"] = args.fold
    told = {key: value for key, value in told.items() if value is not None}
    return replace(recipe, model=model, optimizer=optimizer, **told)


def model_options(words: list[str]) -> dict[str, Any]:
    """KEY=VALUE words as create_model's options; values are JSON where they can be, else text."""
    options = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator:
            raise ValueError(f"--options takes KEY=VALUE, got {word!r}")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return options


def train(args: argparse.Namespace, device: torch.device) -> None:
    """Reads or makes tiles, and trains."""
    recipe, unlabelled = build_recipe(args), None
    if args.data:
        tiles, data = saltzoo.data.read_tgs(args.data), "TGS Salt Identification Challenge"
        if recipe.student is not None:
            given = Path(args.data)
            unlabelled = saltzoo.data.read_tgs(given.parent if given.suffix == ".zip" else given, split="test")
    else:
        tiles = saltzoo.data.synthetic_tiles(args.synthetic_tiles, seed=recipe.seed)
        data = f"{args.synthetic_tiles} synthetic tiles of saltzoo"
        if recipe.student is not None:
            unlabelled = saltzoo.data.synthetic_tiles(args.synthetic_tiles, seed=recipe.seed + 1)
    run = cross_validate if args.fold == ALL_FOLDS else fit
    scores = run(
        recipe,
        tiles,
        args.out,
        unlabelled=unlabelled,
        device=device,
        data=data,
        # The competition's rules allow its data, and what is learnt from it, no commercial use.
        license="cc-by-nc-4.0" if args.data else "apache-2.0",
        resume=args.resume,
        save_every=args.save_every,
        tell=lambda line: print(line, flush=True),
    )
    if not dist.is_initialized() or dist.get_rank() == 0:
        what = f"{args.out}, all folds" if args.fold == ALL_FOLDS else str(args.out / "model")
        print(f"{what}: score {scores['salt_map']:.4f}, with hflip TTA {scores['salt_map_hflip']:.4f}")


def main(argv: list[str] | None = None) -> None:
    """Sets up one process, or its part of several, and trains."""
    args = parse_args(argv)
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("error: this torch sees no GPU: give --device cpu")
    if args.device.partition(":")[0] not in ("cpu", "cuda"):
        sys.exit(f"error: --device is cpu, cuda or cuda:N, got {args.device!r}")
    device = torch.device(args.device)
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world > 1:
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        train(args, device)
    except (ValueError, TypeError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        kept = f"{args.out} has the last epoch that was written; --resume goes on"
        print(f"\nstopped: {kept if any(args.out.rglob('last.pt')) else 'nothing was written'}", flush=True)
        sys.exit(130)
    finally:
        if world > 1:
            dist.destroy_process_group()


if __name__ == "__main__":
    main()
