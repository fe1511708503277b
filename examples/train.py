"""Train a saltzoo model: one file, a plain loop.

    python examples/train.py                                        # synthetic tiles, about two minutes on 2 cores
    python examples/train.py --data DIR --model unet_resnet34_scse --epochs 40 --amp bf16 --out runs/fold0
    torchrun --nproc-per-node 2 examples/train.py ...               # several processes (gloo on CPUs, nccl on GPUs)

DIR is the competition's download: train.zip, or train/images and train/masks. The folder --out then holds
`best/` (the checkpoint: saltzoo.create_model("local-dir:OUT/best")), `predictions.png`, `log.csv`, and `last.pt`,
from which --resume goes on with the same options. Ctrl-C keeps the best epoch so far; in the first epoch of a single
process it saves what there is.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import math
import os
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

import saltzoo
from saltzoo.data import Augment, Tiles
from saltzoo.losses import DeepSupervisionLoss, bce_loss, lovasz_hinge
from saltzoo.metrics import SaltMAP

EMA_DECAY = 0.998
BCE_PART, RAMP_PART = 0.05, 0.05  # of all steps: BCE alone, then Lovász rising to its full weight
WARMUP_PART = 0.05  # of all steps: the rate rises to its peak, then follows a cosine to zero


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of the competition's files; without it, synthetic tiles")
    parser.add_argument("--model", default="unet_resnet18", help="a name of saltzoo.list_models()")
    parser.add_argument("--options", nargs="*", default=[], metavar="KEY=VALUE", help="of the model: encoder=resnet50")
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


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, *, step: int) -> None:
    """Exponential moving average of weights and batch-norm statistics; short-sighted while it is young."""
    decay = min(EMA_DECAY, (1 + step) / (10 + step))
    for old, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if old.is_floating_point():
            old.lerp_(new, 1 - decay)
        else:
            old.copy_(new)


@dataclass(frozen=True)
class Job:
    """What was asked for, and which part of it this process does."""

    args: argparse.Namespace
    device: torch.device
    amp: bool
    rank: int = 0
    world: int = 1

    @property
    def main(self) -> bool:
        """Whether this is the one process that prints and writes."""
        return self.rank == 0

    def autocast(self) -> torch.autocast:
        """bf16 where --amp asks for it."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.amp)


def train(job: Job) -> None:
    """Everything from tiles to the scored checkpoint."""
    args, device = job.args, job.device
    check_folder(args)
    training, validation = load_tiles(args)
    steps = len(training) // args.batch_size
    if args.batch_size % job.world or steps < 1 or args.epochs < 1:
        raise ValueError(
            f"--batch-size {args.batch_size} must divide by {job.world} process(es) and be at most the "
            f"{len(training)} training tiles; --epochs {args.epochs} must be at least 1"
        )
    torch.manual_seed(args.seed)
    torch.set_flush_denormal(True)  # vanishing weights make a CPU many times slower
    options = model_options(args.options)
    start_from_imagenet = args.pretrained_encoder and not args.resume
    model = saltzoo.create_model(args.model, pretrained_encoder=start_from_imagenet, **options).to(device)
    model.to(memory_format=torch.channels_last)
    average = copy.deepcopy(model)
    optimizer = build_optimizer(model, args.lr)
    parts = {"model": model, "average": average, "optimizer": optimizer}
    first_epoch, best, history = load_state(args, parts, device) if args.resume else (0, -1.0, [])
    average.preprocess = model.preprocess
    net = DistributedDataParallel(model) if job.world > 1 else model

    args.out.mkdir(parents=True, exist_ok=True)
    # All tiles live on the device as bytes; augmentation runs there in batches.
    images = torch.from_numpy(training.images).to(device)
    masks = torch.from_numpy(training.require_masks()).to(device)
    try:
        for epoch in range(first_epoch, args.epochs):
            start = time.perf_counter()
            loss = train_epoch(net, average, optimizer, images, masks, epoch=epoch, steps=steps, job=job)
            seconds = time.perf_counter() - start
            if job.world > 1:  # each process averaged batch-norm statistics of its own batches
                for buffer in average.buffers():
                    dist.broadcast(buffer, 0)
            score = evaluate(average, validation, job)
            if job.main:
                speed = steps * args.batch_size / seconds
                print(f"epoch {epoch + 1}: loss {loss:.4f}  score {score:.4f}  {speed:.1f} tiles/s", flush=True)
                history.append([epoch + 1, round(loss, 5), round(score, 5), round(seconds, 1)])
                if score > best:
                    save_best(average, args, validation, [describe(score, args, epoch + 1)])
                best = max(best, score)
                save_state(args, parts, epoch=epoch + 1, best=best, history=history)
    except KeyboardInterrupt:
        if job.main:
            if best < 0:
                save_best(average, args, validation, [])
            hint = "; --resume goes on" if last_state(args).exists() else ""
            print(f"\nstopped: the best checkpoint so far is {args.out / 'best'}{hint}", flush=True)
        sys.exit(130)
    best_epoch = max(history, key=lambda row: row[2])[0] if history else args.epochs
    finish(job, validation, best_epoch)


def train_epoch(
    net: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    masks: Tensor,
    *,
    epoch: int,
    steps: int,
    job: Job,
) -> float:
    """One pass over this process's share of the shuffled tiles; the mean loss."""
    args = job.args
    model = cast(saltzoo.Segmenter, net.module if isinstance(net, DistributedDataParallel) else net)
    # Seeded by the epoch, so a resumed run draws what an unbroken one would have drawn.
    shuffle = torch.Generator().manual_seed(1000 * args.seed + epoch)
    order = torch.randperm(len(images), generator=shuffle)[: steps * args.batch_size]
    batches = order.view(steps, job.world, -1)[:, job.rank].to(job.device)
    noise = torch.Generator(job.device).manual_seed((1000 * args.seed + epoch) * job.world + job.rank)
    augment = Augment()
    total = torch.zeros((), device=job.device)
    net.train()
    bar = tqdm(batches, desc=f"epoch {epoch + 1}/{args.epochs}", disable=None if job.main else True, leave=False)
    for step, index in enumerate(bar):
        progress = (epoch * steps + step) / (args.epochs * steps)
        for group in optimizer.param_groups:
            group["lr"] = args.lr * rate_at(progress)
        x, y = augment(images[index].float() / 255, masks[index], generator=noise)  # N H W
        with job.autocast():
            output = net(model.preprocess(x[:, None].expand(-1, model.in_chans, -1, -1)))  # N 1 H W, or a SegOutput
        loss = DeepSupervisionLoss(partial(loss_at, progress))(output, y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        update_average(average, model, step=epoch * steps + step)
        total += loss.detach()
        if step % 20 == 0:  # reading a number waits for a GPU
            bar.set_postfix(loss=f"{float(total) / (step + 1):.3f}")
    mean = float(total) / steps
    if not math.isfinite(mean):
        raise ValueError(
            f"the loss became {mean} in epoch {epoch + 1}: start again with a lower --lr and another --out"
        )
    return mean


def evaluate(model: saltzoo.Segmenter, tiles: Tiles, job: Job, *, tta: str | None = None) -> float:
    """The competition's score at threshold .5, over all processes; each predicts its share of the tiles."""
    share = tiles.select(np.arange(job.rank, len(tiles), job.world))
    with job.autocast():
        probabilities = saltzoo.predict(model, torch.from_numpy(share.images).to(job.device), tta=tta)
    return (
        SaltMAP().update(probabilities > 0.5, torch.from_numpy(share.require_masks()).to(job.device)).sync().compute()
    )


def finish(job: Job, validation: Tiles, epoch: int) -> None:
    """Scores the best checkpoint as a user would: read from its folder, in fp32; with and without mirrored tiles."""
    if job.world > 1:
        dist.barrier()  # the writer may not be done
    model = saltzoo.create_model(f"local-dir:{job.args.out / 'best'}").to(job.device)
    exact = replace(job, amp=False)
    scores = {tta: evaluate(model, validation, exact, tta=tta) for tta in (None, "hflip")}
    if job.main:
        metrics = [describe(score, job.args, epoch, tta=tta) for tta, score in scores.items()]
        save_best(model, job.args, validation, metrics)
        print(f"{job.args.out / 'best'}: score {scores[None]:.4f}, with hflip TTA {scores['hflip']:.4f}")


def describe(score: float, args: argparse.Namespace, epoch: int, *, tta: str | None = None) -> dict[str, Any]:
    """A score with the conditions under which it holds."""
    conditions = {"data": data_name(args), "fold": f"{args.fold} of 5", "seed": args.seed}
    return {
        "name": "salt_map",
        "value": score,
        **conditions,
        "epoch": f"{epoch} of {args.epochs}",
        "tta": tta or "none",
    }


def data_name(args: argparse.Namespace) -> str:
    """What the model is trained on and scored with."""
    return "TGS Salt Identification Challenge" if args.data else f"{args.synthetic_tiles} synthetic tiles of saltzoo"


def save_best(model: saltzoo.Segmenter, args: argparse.Namespace, tiles: Tiles, metrics: list[dict[str, Any]]) -> None:
    """The checkpoint, and a picture of 12 tiles with salt: prediction beside truth."""
    recipe = {key: value for key, value in vars(args).items() if key not in ("data", "out", "resume")}
    saltzoo.save_pretrained(
        model,
        args.out / "best",
        # The competition's rules allow its data, and what is learnt from it, no commercial use.
        license="cc-by-nc-4.0" if args.data else "apache-2.0",
        metrics=metrics,
        recipe={**recipe, "data": data_name(args)},
    )
    with_salt = np.flatnonzero(tiles.coverage > 0)
    shown = tiles.select(with_salt[np.linspace(0, len(with_salt) - 1, min(12, len(with_salt))).astype(int)])
    guesses = saltzoo.predict(model, shown.images) > 0.5
    pictures = []
    for image, guess, truth in zip(shown.images, guesses, shown.require_masks(), strict=True):
        pictures += [saltzoo.draw.overlay(image, guess), saltzoo.draw.overlay(image, truth)]
    if pictures:
        saltzoo.draw.save_png(saltzoo.draw.contact_sheet(pictures, columns=6), args.out / "predictions.png")


def last_state(args: argparse.Namespace) -> Path:
    """Where a run keeps what it needs to go on."""
    return args.out / "last.pt"


def check_folder(args: argparse.Namespace) -> None:
    """Refuses to overwrite a run, or to resume none."""
    if not args.resume and last_state(args).exists():
        raise ValueError(
            f"{args.out} holds a run already: add --resume to go on with its last.pt, or choose another --out"
        )
    if not args.resume and (args.out / "best").exists():
        raise ValueError(
            f"{args.out / 'best'} is a checkpoint without a last.pt to resume from: move it, or choose another --out"
        )
    if args.resume and not last_state(args).exists():
        raise ValueError(f"nothing to resume: no {last_state(args)}")


def save_state(args: argparse.Namespace, parts: dict[str, Any], *, epoch: int, best: float, history: list[Any]) -> None:
    """Moved into place whole: a kill at any moment leaves the last epoch's state or this one's."""
    part = last_state(args).with_suffix(".part")
    state = {key: value.state_dict() for key, value in parts.items()}
    state |= {"recipe": resumable(args), "preprocess": parts["model"].preprocess.to_dict()}
    torch.save({**state, "epoch": epoch, "best": best, "history": history}, part)
    os.replace(part, last_state(args))
    with open(args.out / "log.csv", "w", newline="") as file:
        csv.writer(file).writerows([["epoch", "loss", "score", "seconds"], *history])


def load_state(args: argparse.Namespace, parts: dict[str, Any], device: torch.device) -> tuple[int, float, list[Any]]:
    """Puts the saved state into the parts; the epochs done, the best score, the log."""
    state = torch.load(last_state(args), map_location=device, weights_only=True)
    if state["recipe"] != resumable(args):
        raise ValueError(f"{args.out} was trained with {state['recipe']}: resume with the same, not {resumable(args)}")
    for key, part in parts.items():
        part.load_state_dict(state[key])
    parts["model"].preprocess = saltzoo.Preprocess.from_dict(state["preprocess"])
    return state["epoch"], state["best"], state["history"]


def resumable(args: argparse.Namespace) -> dict[str, Any]:
    """The options that a run can't change half way."""
    names = ("model", "options", "pretrained_encoder", "fold", "epochs", "batch_size", "lr", "seed", "amp")
    return {"data": data_name(args), **{name: getattr(args, name) for name in names}}


def main(argv: list[str] | None = None) -> None:
    """Sets up one process, or its part of several, and trains."""
    args = parse_args(argv)
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("error: this torch sees no GPU: give --device cpu")
    if args.device.partition(":")[0] not in ("cpu", "cuda"):
        sys.exit(f"error: --device is cpu, cuda or cuda:N, got {args.device!r}")
    device = torch.device(args.device)
    if world > 1:
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        train(Job(args, device, args.amp == "bf16", rank, world))
    except (ValueError, TypeError, OSError) as error:
        sys.exit(f"error: {error}")
    finally:
        if world > 1:
            dist.destroy_process_group()


if __name__ == "__main__":
    main()
