# %% [markdown]
# # A tour of saltzoo
#
# Salt is hard to see in seismic images, and what lies below it is hard to image. This tour loads a small network
# whose weights come with the package, segments tiles and a section, measures how good the masks are, and ends in one
# page of pictures. It needs no network, no data and no GPU, and takes some ten seconds.
#
# As a script: `python examples/tour.py --out tour.png`. As a notebook: `examples/tour.ipynb`, which is made from this
# file by `python docs/make_notebook.py`.

# %%
"""A tour of saltzoo: load weights, segment tiles and a section, measure, and draw one page of pictures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

import saltzoo
from saltzoo import data, draw, metrics

parser = argparse.ArgumentParser(description="Load weights, segment tiles and a section, and draw one page.")
parser.add_argument("--out", default="tour.png", help="PNG file of the page")
parser.add_argument("--overwrite", action="store_true", help="replace the file if it is there already")
args = parser.parse_args(None if "__file__" in globals() else ["--overwrite"])  # a notebook has no command line
out = Path(args.out)
if out.exists() and not args.overwrite:
    sys.exit(f"error: already there: {out}. Choose another --out, or replace it with --overwrite")

# %% [markdown]
# ## Models have names
#
# A name is a network; a tag after the dot is a set of weights. Names that are not in the list can be composed:
# `create_model("unet", encoder="efficientnet_b0", attention="scse")`.

# %%
names = saltzoo.list_models()
print(f"{len(names)} models have a name, among them {', '.join(names[:3])}.")

model = saltzoo.create_model("saltnet_s.wide2", pretrained=True)
cost = saltzoo.cost(model, (101, 101))
print(f"saltnet_s.wide2 has {cost.parameters / 1e6:.1f} million parameters and is on this disk already.")

# %% [markdown]
# ## Tiles
#
# The tiles of the TGS Salt Identification Challenge are 101 x 101 pixels. Their licence does not let us include them,
# so these are synthetic. `predict` takes images as they are: it normalises them, makes batches, and averages the
# probabilities of each tile and its mirror image (`tta="hflip"`; seismic images are never flipped upside down,
# because reflections from below look different).

# %%
tiles = data.synthetic_tiles(12, seed=2)
truth = tiles.require_masks()
probabilities = saltzoo.predict(model, tiles.images, tta="hflip")  # N H W, 0..1
masks = probabilities > model.threshold
print(
    f"{len(tiles)} tiles, of which {int(truth.any((1, 2)).sum())} contain salt; a mask is where p > {model.threshold}."
)

# %% [markdown]
# ## How good is it?
#
# `salt_map` is the score of the competition. On a tile without salt an empty mask scores 1, and a mask with a single
# pixel scores 0, so false alarms are expensive. `IoUScore` is the usual overlap.

# %%
score = metrics.salt_map(masks, truth)
blank = metrics.salt_map(np.zeros_like(masks), truth)
overlap = metrics.IoUScore().update(masks, truth).compute()
print(f"The score is {score:.3f}; empty masks would score {blank:.3f}. The mean overlap (IoU) is {float(overlap):.3f}.")

# %% [markdown]
# ## A section
#
# A section is larger than a tile, and its samples are amplitudes rather than shades of gray. `predict_tiled` cuts it
# into overlapping tiles and blends their logits. `normalize="survey"` turns amplitudes into what the network was
# trained on, by the median and the spread of the whole picture.

# %%
survey = data.SyntheticSurvey((200, 200, 160), seed=2)  # inlines, crosslines, samples
amplitudes, salt = survey.slab(100, 101)  # its middle line
section, truth_of_section = amplitudes[0].T, salt[0].T  # samples x crosslines: H W
found = saltzoo.predict_tiled(model, section, normalize="survey", tta="hflip")
both = np.logical_and(found > model.threshold, truth_of_section).sum()
either = np.logical_or(found > model.threshold, truth_of_section).sum()
print(
    f"Section of {section.shape[0]} samples x {section.shape[1]} traces: intersection over union {both / either:.3f}."
)
print("Other surveys may differ more from the training data: examples/train.py trains on tiles of your own.")

# %% [markdown]
# ## Parts work alone
#
# Every layer, loss and metric is a plain torch module or function. Here is the Lovász hinge, a loss for the overlap,
# and its gradient: it is largest where the network is wrong and sure.

# %%
logits = torch.logit(torch.from_numpy(probabilities[:, None]), eps=1e-4).requires_grad_()
loss = saltzoo.losses.lovasz_hinge(logits, torch.from_numpy(truth[:, None]).float())
loss.backward()
assert logits.grad is not None
steepest = int(logits.grad.abs().sum((1, 2, 3)).argmax())
print(f"Lovász hinge {loss.item():.3f}; tile {steepest + 1} pulls hardest on the weights.")

# %% [markdown]
# ## One page of pictures
#
# Orange is predicted salt, blue outlines the true salt. The tiles come first; below them the section, its
# probabilities, and its mask.

# %%
shade = np.clip(124 + 28 * (section - np.median(section)) / section.std(), 0, 255).astype(np.uint8)
upper = draw.contact_sheet(
    [draw.overlay(image, mask, truth=true) for image, mask, true in zip(tiles.images, masks, truth, strict=True)],
    columns=6,
)
lower = draw.contact_sheet(
    [
        draw.overlay(shade, np.zeros_like(found)),
        draw.overlay(shade, found),
        draw.overlay(shade, found > model.threshold, truth=truth_of_section),
    ],
    columns=3,
)
page = np.full((len(upper) + len(lower), max(upper.shape[1], lower.shape[1]), 3), 255, np.uint8)
page[: len(upper), : upper.shape[1]] = upper
page[len(upper) :, : lower.shape[1]] = lower
print(f"Page of pictures: {draw.save_png(page, out, overwrite=args.overwrite)}")
