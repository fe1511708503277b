"""Time the training loop beside a bare step on one fixed batch: what augmentation, clipping and averaging cost.

    python benchmarks/loop.py --models saltnet_s --amp bf16

A bare step is forward pass, loss, backward pass and optimiser, all of the same recipe. Contenders alternate in one
process on one thread. Writes results/loop_cpu.csv.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from saltzoo.benchmark.report import Row, conditions, describe, markdown, slug, write_csv
from saltzoo.benchmark.timing import Run, Spread, alternate, ratios
from saltzoo.data import Tiles, synthetic_tiles
from saltzoo.training import Recipe, Trainer

LOOPS: dict[str, Row] = {"loop": {}, "loop with survey": {"survey": {}}}
"""Contenders besides the bare step, and what their recipes add."""


def bare_step(trainer: Trainer, tiles: Tiles, batch: int, device: torch.device) -> Run:
    """Return a step of the trainer's model, loss and optimiser on the first tiles."""
    images = torch.from_numpy(tiles.images[:batch])[:, None].to(device).float() / 255
    masks = torch.from_numpy(tiles.require_masks()[:batch]).to(device)
    model, recipe = trainer.model, trainer.recipe

    def run() -> None:
        model.train()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=recipe.amp == "bf16"):
            output = model(model.preprocess(images))
        loss = trainer.loss(output, masks)
        trainer.optimizer.zero_grad()
        torch.autograd.backward(loss)
        trainer.optimizer.step()

    return run


def rows(args: argparse.Namespace, device: torch.device) -> Iterator[Row]:
    """Yield a line for each model and contender."""
    tiles = synthetic_tiles(args.batch * args.steps, seed=0)
    for name in args.models:
        table = {"model": {"name": name, "training_options": {"deep_supervision": True}}, "epochs": 10_000}
        table |= {"batch_size": args.batch, "amp": args.amp}
        trainers = {loop: Trainer(Recipe.from_dict(table | more), tiles, device=device) for loop, more in LOOPS.items()}
        alone = Trainer(Recipe.from_dict(table), tiles, device=device)
        step = bare_step(alone, tiles, args.batch, device)
        contenders: dict[str, Run] = {"bare step": partial(repeat, step, args.steps)}
        # The epoch is one in which the loss has all its terms.
        contenders |= {loop: partial(trainer.epoch, 2_000) for loop, trainer in trainers.items()}
        for trainer in (alone, *trainers.values()):
            trainer.epoch(2_000)
        seconds = alternate(contenders, rounds=args.rounds, device=device)
        for contender, taken in seconds.items():
            yield {
                "model": name,
                "contender": contender,
                "amp": trainers["loop"].recipe.amp,
                "batch": args.batch,
                **Spread.of([args.batch * args.steps / value for value in taken]).cells("tiles_per_s"),
                **ratios(seconds["bare step"], taken).cells("ratio"),
                "rounds": args.rounds,
            }


def repeat(run: Run, times: int) -> None:
    """Call a function several times."""
    for _ in range(times):
        run()


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["saltnet_s", "unet_efficientnet_lite0_scse_hc"])
    parser.add_argument("--amp", choices=["auto", "off", "bf16"], default="auto")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=4, help="steps in a turn")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the CSV")
    args = parser.parse_args()

    device = torch.device(args.device)
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)  # as `fit` does
    where = conditions(device)
    print(describe(where), flush=True)
    found = list(rows(args, device))
    path = args.out / f"loop_{slug(device)}.csv"
    write_csv(path, found, where, replacing="model")
    print(f"\n{markdown(found, ('model', 'contender', 'amp', 'tiles_per_s', 'ratio'))}\n\n{path}")


if __name__ == "__main__":
    main()
