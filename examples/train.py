"""Train a saltzoo model from a recipe.

    python examples/train.py                                        # synthetic tiles, about two minutes on 2 cores
    python examples/train.py --recipe examples/recipes/saltnet_s.tgs2.toml --data DIR --out runs/fold0
    python examples/train.py --data DIR --model unet_resnet34_scse --epochs 40 --out runs/mine
    python examples/train.py --images PICTURES --masks MASKS --out runs/own       # your own pictures, cut into tiles
    python examples/train.py --images PICTURES --masks LABELS --classes 3 --ignore-index 255 --out runs/three
    torchrun --nproc-per-node 2 examples/train.py ...               # several processes (gloo on CPUs, nccl on GPUs)

DIR is the competition's download: train.zip, or train/images and train/masks; a recipe with a [student] also reads the
unlabelled tiles, test.zip or test/images. PICTURES and MASKS are folders of gray pictures of any sizes and of their
masks, with the same names (see saltzoo.data.read_folder); all tiles of a picture are in one fold, so give several
pictures. With --classes K the samples of the masks are 0 to K - 1, the class of each pixel, or the number of
--ignore-index where it is unknown. Options of the command line override the recipe.

A run writes to the folder --out: `model/` (the checkpoint: saltzoo.create_model("local-dir:OUT/model")),
`predictions.png`, `log.csv`, and `last.pt`, from which --resume continues with the same options; more --epochs add a
cosine cycle. Ctrl-C keeps the files that were written.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from saltzoo.training import Recipe, cross_validate, fit, read_recipe
from saltzoo.training.launch import launched
from saltzoo.training.tile_source import read_tiles

DEFAULTS: dict[str, Any] = {"model": {"name": "unet_resnet18"}, "epochs": 8}
ALL_FOLDS = "all"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, help="TOML file, such as those in examples/recipes")
    parser.add_argument("--data", help="folder of the competition's files; default: synthetic tiles")
    parser.add_argument("--images", type=Path, help="folder of your own pictures, instead of --data")
    parser.add_argument("--masks", type=Path, help="folder of their masks")
    parser.add_argument(
        "--value-range", type=float, nargs=2, metavar=("BLACK", "WHITE"), help="samples of --images, if not 8 bits"
    )
    parser.add_argument("--classes", type=int, metavar="K", help="number of classes in --masks, 2 or more")
    parser.add_argument("--ignore-index", type=int, metavar="VALUE", help="sample of --masks that marks unknown pixels")
    parser.add_argument("--model", help="name from saltzoo.list_models()")
    parser.add_argument(
        "--options", nargs="*", default=[], metavar="KEY=VALUE", help="options of the model, such as encoder=resnet50"
    )
    parser.add_argument(
        "--pretrained-encoder",
        nargs="?",
        const=True,
        default=False,
        metavar="FILE",
        help="start from ImageNet weights: timm's, or those in a file",
    )
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int, help="tiles per step, over all processes")
    parser.add_argument("--lr", type=float, help="peak learning rate")
    parser.add_argument(
        "--amp", choices=["auto", "off", "bf16"], help="auto: bf16 where the processor or GPU has it natively"
    )
    parser.add_argument(
        "--fold",
        type=fold_or_all,
        help='fold held out for validation, or "all": one run per fold, in OUT/fold0, OUT/fold1, ...',
    )
    parser.add_argument("--seed", type=int)
    parser.add_argument("--synthetic-tiles", type=int, default=400, help="number of synthetic tiles without --data")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/train"))
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    parser.add_argument(
        "--save-every", type=int, default=1, metavar="EPOCHS", help="epochs between two writes to --out"
    )
    return parser.parse_args(argv)


def fold_or_all(word: str) -> int | str:
    """Parse the number of a fold, or "all"."""
    if word != ALL_FOLDS and not word.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a number or {ALL_FOLDS!r}, got {word!r}")
    return word if word == ALL_FOLDS else int(word)


def build_recipe(args: argparse.Namespace) -> Recipe:
    """Return the recipe of the file, or a short default, with the options of the command line."""
    recipe = Recipe.from_dict(DEFAULTS) if args.recipe is None else read_recipe(args.recipe)
    model = replace(
        recipe.model,
        name=args.model or recipe.model.name,
        options={
            **recipe.model.options,
            **({} if args.classes is None else {"num_classes": args.classes}),
            **model_options(args.options),
        },
        pretrained_encoder=args.pretrained_encoder or recipe.model.pretrained_encoder,
    )
    optimizer = recipe.optimizer if args.lr is None else replace(recipe.optimizer, lr=args.lr)
    changes = {"epochs": args.epochs, "batch_size": args.batch_size, "amp": args.amp, "seed": args.seed}
    changes["ignore_index"] = args.ignore_index
    if args.fold != ALL_FOLDS:
        changes["fold"] = args.fold
    changes = {key: value for key, value in changes.items() if value is not None}
    return replace(recipe, model=model, optimizer=optimizer, **changes)


def model_options(words: list[str]) -> dict[str, Any]:
    """Parse KEY=VALUE words as options of create_model; a value that is not JSON is text."""
    options = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator:
            raise ValueError(f"--options must be KEY=VALUE, got {word!r}")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return options


def train(args: argparse.Namespace, device: torch.device) -> None:
    """Read or generate tiles, and train."""
    if not args.images and not (args.classes is None and args.ignore_index is None):
        raise ValueError("--classes and --ignore-index are of --masks, which are missing: give --images and --masks")
    recipe = build_recipe(args)
    source = read_tiles(
        recipe,
        data=args.data,
        images=args.images,
        masks=args.masks,
        value_range=tuple(args.value_range) if args.value_range else None,
        synthetic=args.synthetic_tiles,
    )
    run = cross_validate if args.fold == ALL_FOLDS else fit
    scores = run(
        recipe,
        source.tiles,
        args.out,
        unlabelled=source.unlabelled,
        device=device,
        data=source.data,
        license=source.license,
        resume=args.resume,
        save_every=args.save_every,
        tell=lambda line: print(line, flush=True),
    )
    if not dist.is_initialized() or dist.get_rank() == 0:
        what = f"{args.out}, all folds" if args.fold == ALL_FOLDS else str(args.out / "model")
        name = "salt_map" if "salt_map" in scores else "mean_iou"
        print(f"{what}: score {scores[name]:.4f}, with hflip TTA {scores[f'{name}_hflip']:.4f}")


def main(argv: list[str] | None = None) -> None:
    """Set up this process, alone or as one of several, and train."""
    args = parse_args(argv)
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("error: torch finds no GPU: use --device cpu")
    if args.device.partition(":")[0] not in ("cpu", "cuda"):
        sys.exit(f"error: --device must be cpu, cuda or cuda:N, got {args.device!r}")
    with launched(args.device) as device:
        try:
            train(args, device)
        except (ValueError, TypeError, OSError) as error:
            sys.exit(f"error: {error}")
        except KeyboardInterrupt:
            kept = f"{args.out} holds the last epoch that was written; continue with --resume"
            print(f"\nstopped: {kept if any(args.out.rglob('last.pt')) else 'nothing was written'}", flush=True)
            sys.exit(130)


if __name__ == "__main__":
    main()
