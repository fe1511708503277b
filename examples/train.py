"""Train a saltzoo model: one file, a plain loop.

    python examples/train.py                                        # synthetic tiles, about two minutes on 2 cores
    python examples/train.py --data DIR --model unet_resnet34_scse --epochs 40 --amp bf16 --out runs/fold0
    torchrun --nproc-per-node 2 examples/train.py ...               # several processes (gloo on CPUs, nccl on GPUs)

DIR is the competition's download: train.zip, or train/images and train/masks. The folder --out then holds
`best/` (the checkpoint: saltzoo.create_model("local-dir:OUT/best")), `predictions.png`, `log.csv`, and `last.pt`,
from which --resume goes on.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import sys
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

import saltzoo
from saltzoo.data import Augment, Tiles
from saltzoo.losses import bce_loss, lovasz_hinge
from saltzoo.metrics import SaltMAP

Tensors = tuple[Tensor, ...] | list[Tensor]

EMA_DECAY = 0.998
BCE_PART, RAMP_PART = 0.05, 0.05  # of all steps: BCE alone, then Lovász rising to its full weight
WARMUP_PART = 0.05  # of all steps: the rate rises to its peak, then follows a cosine to zero


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of the competition's files; without it, synthetic tiles")
    parser.add_argument("--model", default="unet_resnet18", help="a name of saltzoo.list_models()")
    parser.add_argument("--pretrained-encoder", action="store_true", help="start from ImageNet weights")
    parser.add_argument("--fold", type=int, default=0, help="which of five folds validates")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=32, help="tiles a step, over all processes")
    parser.add_argument("--lr", type=float, default=1.5e-3, help="peak rate of AdamW")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--synthetic-tiles", type=int, default=400, help="how many to make without --data")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--amp", choices=["off", "bf16"], default="off")
    parser.add_argument("--out", type=Path, default=Path("runs/train"))
    parser.add_argument("--resume", action="store_true", help="go on from --out; loses at most one epoch")
    return parser.parse_args(argv)


def load_tiles(args: argparse.Namespace) -> tuple[Tiles, Tiles]:
    """Training and validation tiles: one of five folds, stratified by coverage, seed 0."""
    if args.data:
        tiles = saltzoo.data.read_tgs(args.data)
    else:
        tiles = saltzoo.data.synthetic_tiles(args.synthetic_tiles, seed=args.seed)
    folds = saltzoo.data.stratified_folds(tiles.coverage, n_folds=5, seed=0)
    if not 0 <= args.fold < 5:
        raise ValueError(f"--fold must be 0 to 4, got {args.fold}")
    return tiles.select(folds != args.fold), tiles.select(folds == args.fold)


def build_optimizer(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """AdamW; norms and biases are not decayed."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    kept = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.02}, {"params": kept, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.99), fused=True)


def rate_at(progress: float) -> float:
    """Share of the peak rate after this part (0..1) of all steps."""
    if progress < WARMUP_PART:
        return progress / WARMUP_PART
    return 0.5 + 0.5 * math.cos(math.pi * (progress - WARMUP_PART) / (1 - WARMUP_PART))


def loss_at(progress: float, logits: Tensor, masks: Tensor) -> Tensor:
    """BCE first, then symmetric Lovász and a fifth of BCE. A hard switch at the peak rate would jump."""
    lovasz_share = min(1.0, max(0.0, (progress - BCE_PART) / RAMP_PART))
    loss = (1 - 0.8 * lovasz_share) * bce_loss(logits, masks)
    if lovasz_share > 0:
        loss = loss + lovasz_share * lovasz_hinge(logits, masks, margin="elu", symmetric=True)
    return loss


def update_average(averages: Tensors, values: Tensors, updates: Tensor | int) -> None:
    """Exponential moving average of weights and batch-norm statistics; short-sighted while it is young."""
    decay = min(EMA_DECAY, (1 + float(updates)) / (10 + float(updates)))
    if averages[0].is_floating_point():
        torch._foreach_lerp_(averages, values, 1 - decay)
    else:
        torch._foreach_copy_(averages, values)


@torch.inference_mode()
def evaluate(model: saltzoo.Segmenter, tiles: Tiles, *, tta: str | None, world: int, rank: int, amp: bool) -> float:
    """The competition's score at threshold .5; each process takes its share of the tiles."""
    share = tiles.select(np.arange(rank, len(tiles), world))
    device = next(model.parameters()).device
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=amp):
        probabilities = saltzoo.predict(model, torch.from_numpy(share.images).to(device), tta=tta)
    assert share.masks is not None  # load_tiles reads labelled tiles only
    return SaltMAP().update(probabilities > 0.5, torch.from_numpy(share.masks).to(device)).sync().compute()


def save_best(model: saltzoo.Segmenter, args: argparse.Namespace, tiles: Tiles, metrics: list[dict[str, Any]]) -> None:
    """The checkpoint, and a picture of 12 tiles with salt: prediction beside truth."""
    recipe = {key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()}
    saltzoo.save_pretrained(
        model,
        args.out / "best",
        # The competition's data may not be used for profit, nor what was learnt from it.
        license="cc-by-nc-4.0" if args.data else "apache-2.0",
        metrics=metrics,
        recipe={**recipe, "data": "TGS" if args.data else "synthetic", "resume": False, "out": ""},
    )
    assert tiles.masks is not None
    with_salt = np.flatnonzero(tiles.coverage > 0)
    shown = tiles.select(with_salt[np.linspace(0, len(with_salt) - 1, min(12, len(with_salt))).astype(int)])
    assert shown.masks is not None
    pictures = []
    for image, truth, guess in zip(shown.images, shown.masks, saltzoo.predict(model, shown.images), strict=True):
        pictures += [saltzoo.draw.overlay(image, guess > 0.5), saltzoo.draw.overlay(image, truth)]
    saltzoo.draw.save_png(saltzoo.draw.contact_sheet(pictures, columns=6), args.out / "predictions.png")


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Moved into place whole, so a kill at any moment leaves the last epoch's state or this one's."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def train(args: argparse.Namespace, *, rank: int, world: int, device: torch.device) -> None:
    """Everything from tiles to the last checkpoint."""
    main = rank == 0
    last = args.out / "last.pt"
    if last.exists() and not args.resume:
        raise ValueError(f"{args.out} holds a run already: add --resume to go on with it, or choose another --out")
    if args.resume and not last.exists():
        raise ValueError(f"nothing to resume: no {last}")
    if args.batch_size % world or args.epochs < 1:
        raise ValueError(f"--batch-size {args.batch_size} must divide by {world} processes, --epochs be at least 1")
    training, validation = load_tiles(args)
    steps = len(training) // args.batch_size
    if steps < 1 or len(validation) < world:
        raise ValueError(f"{len(training)} training tiles are too few for --batch-size {args.batch_size}")
    args.out.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(args.seed)
    torch.set_flush_denormal(True)  # vanishing weights make a CPU many times slower
    model = saltzoo.create_model(args.model, pretrained_encoder=args.pretrained_encoder).to(device)
    model.to(memory_format=torch.channels_last)
    ema = AveragedModel(model, multi_avg_fn=update_average, use_buffers=True)
    optimizer = build_optimizer(model, args.lr)
    first_epoch, best = 0, -1.0
    if args.resume:
        state = torch.load(last, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        ema.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
        first_epoch, best = state["epoch"], state["best"]
    net = DistributedDataParallel(model) if world > 1 else model
    averaged = cast(saltzoo.Segmenter, ema.module)

    # All tiles live on the device as bytes; augmentation runs there in batches.
    images = torch.from_numpy(training.images).to(device)
    masks = torch.from_numpy(training.masks).to(device)
    augment = Augment()
    amp = args.amp == "bf16"
    try:
        for epoch in range(first_epoch, args.epochs):
            start = time.perf_counter()
            # Seeded by the epoch, so a resumed run draws what an unbroken one would have drawn.
            shuffle = torch.Generator().manual_seed(1000 * args.seed + epoch)
            order = torch.randperm(len(training), generator=shuffle)[: steps * args.batch_size]
            batches = order.view(steps, world, -1)[:, rank].to(device)
            noise = torch.Generator(device).manual_seed((1000 * args.seed + epoch) * world + rank)
            total = torch.zeros((), device=device)
            bar = tqdm(batches, desc=f"epoch {epoch + 1}/{args.epochs}", disable=None if main else True, leave=False)
            net.train()
            for step, index in enumerate(bar):
                progress = (epoch * steps + step) / (args.epochs * steps)
                for group in optimizer.param_groups:
                    group["lr"] = args.lr * rate_at(progress)
                x, y = augment(images[index].float() / 255, masks[index], generator=noise)
                with torch.autocast(device.type, dtype=torch.bfloat16, enabled=amp):
                    logits = net(model.preprocess(x[:, None].expand(-1, model.in_chans, -1, -1)))
                loss = loss_at(progress, logits, y)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(net.parameters(), 5.0)
                optimizer.step()
                ema.update_parameters(model)
                total += loss.detach()
                if step % 20 == 0:  # reading a number waits for the GPU
                    bar.set_postfix(loss=f"{float(total) / (step + 1):.3f}")

            seconds = time.perf_counter() - start
            score = evaluate(averaged, validation, tta=None, world=world, rank=rank, amp=amp)
            if main:
                mean_loss, speed = float(total) / steps, steps * args.batch_size / seconds
                print(f"epoch {epoch + 1}: loss {mean_loss:.4f}  score {score:.4f}  {speed:.1f} tiles/s", flush=True)
                with open(args.out / "log.csv", "a", newline="") as file:
                    csv.writer(file).writerow([epoch + 1, f"{mean_loss:.5f}", f"{score:.5f}", f"{seconds:.1f}"])
                if score > best:
                    save_best(averaged, args, validation, [describe(score, args, epoch + 1, tta=None)])
            best = max(best, score)
            if main:
                states = {"model": model.state_dict(), "ema": ema.state_dict(), "optimizer": optimizer.state_dict()}
                save_state(last, {**states, "epoch": epoch + 1, "best": best})
    except KeyboardInterrupt:
        if main:
            if best < 0:
                save_best(averaged, args, validation, [])
            print(f"\nstopped; the best checkpoint so far is {args.out / 'best'}; --resume goes on", flush=True)
        sys.exit(130)

    finish(args, validation, rank=rank, world=world, device=device)


def finish(args: argparse.Namespace, validation: Tiles, *, rank: int, world: int, device: torch.device) -> None:
    """Scores the best checkpoint as it was written, with and without its mirror image."""
    if world > 1:
        dist.barrier()  # the writer may not be done
    model = saltzoo.create_model(f"local-dir:{args.out / 'best'}").to(device)
    plain = evaluate(model, validation, tta=None, world=world, rank=rank, amp=False)
    mirrored = evaluate(model, validation, tta="hflip", world=world, rank=rank, amp=False)
    if rank == 0:
        metrics = [describe(plain, args, args.epochs, tta=None), describe(mirrored, args, args.epochs, tta="hflip")]
        save_best(model, args, validation, metrics)
        print(f"{args.out / 'best'}: score {plain:.4f}, with hflip TTA {mirrored:.4f}")


def describe(score: float, args: argparse.Namespace, epochs: int, *, tta: str | None) -> dict[str, Any]:
    """A score with the conditions under which it holds."""
    data = "TGS Salt Identification Challenge" if args.data else "saltzoo synthetic tiles"
    conditions = {"data": data, "fold": f"{args.fold} of 5", "seed": args.seed, "epochs": epochs, "tta": tta or "none"}
    return {"name": "salt_map", "value": score, **conditions}


def main() -> None:
    """Sets up one process, or its part of several, and trains."""
    args = parse_args()
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = torch.device(args.device)
    if world > 1:
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        train(args, rank=rank, world=world, device=device)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    finally:
        if world > 1:
            dist.destroy_process_group()


if __name__ == "__main__":
    main()
