"""Small networks as teachers, and runs of a student, for the tests of several files."""

import csv
from pathlib import Path

import torch

import saltzoo
from saltzoo.data import stratified_folds, synthetic_tiles
from saltzoo.training import Recipe, fit
from saltzoo.training.process import Process

SCRIPT = Path(__file__).parents[1] / "examples" / "train.py"
SMALL = {"encoder": "test_resnet", "decoder_channels": [8, 8, 8, 8, 8]}
TILES = synthetic_tiles(20, seed=3, size=40)
UNLABELLED = synthetic_tiles(7, seed=4, size=40)
CPU = Process(torch.device("cpu"))
ALL_PASS = {"low": 0.5, "high": 0.5, "min_iou": 0.0, "empty_share": 0.0}
"""Options of `agreement` with which every tile passes."""


HELD_OUT = [TILES.select(stratified_folds(TILES.coverage) == fold).fingerprint for fold in range(5)]


def save_teacher(folder, *, seed=1, fold="0 of 5", held_out=None, data="tiles", **options):
    """Save an untrained network with logits spread widely around zero, and return its source."""
    torch.manual_seed(seed)
    model = saltzoo.create_model("unet", **SMALL, **options)
    with torch.no_grad():
        logits = model.eval()(model.preprocess(torch.from_numpy(TILES.images)[:, None] / 255))
        scale = 3 / logits.std()
        model.head.conv.weight *= scale
        model.head.conv.bias.sub_(logits.mean()).mul_(scale)
    conditions = {"data": data, "fold": fold, "held_out": held_out or HELD_OUT[int(fold[0])]} if fold else {}
    saltzoo.save_pretrained(model, folder, metrics=[{"name": "salt_map", "value": 0.5, **conditions}])
    return f"local-dir:{folder}"


def recipe_of(*teachers, student=None, model=None, **more):
    taught = {"teachers": list(teachers), **ALL_PASS, **(student or {})} if teachers else None
    network = {"name": "unet", "options": SMALL, **(model or {})}
    table = {"model": network, "epochs": 2, "batch_size": 8, "split": "coverage", **more}
    return Recipe.from_dict(table if taught is None else {**table, "student": taught})


def run(recipe, out, *, unlabelled=UNLABELLED, tell=lambda line: None, **options):
    return fit(recipe, TILES, out, unlabelled=unlabelled, tell=tell, **options)


def log_rows(out):
    with open(out / "log.csv", newline="") as file:
        return [row[:3] for row in csv.reader(file)]


def checkpoint_of(out):
    return saltzoo.create_model(f"local-dir:{out / 'model'}")


def stop_at(start):
    def tell(line):
        if line.startswith(start):
            raise KeyboardInterrupt(line)

    return tell


def stop_at_first_but(start):
    def tell(line):
        if not line.startswith(start):
            raise KeyboardInterrupt(line)

    return tell
