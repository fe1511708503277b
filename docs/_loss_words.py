"""The words of docs/losses.md; {names} are computed by make_losses.py."""

INTRODUCTION = """\
<!-- Written by docs/make_losses.py: change that, its words, or a docstring. -->

# Losses

{count} losses in `saltzoo.losses`, called as `loss(logits, target)`. Curves, and the numbers of tables, are computed
from them by [make_losses.py](make_losses.py).

## Which loss for what
"""

RULES = """\
## What holds for all

| the task | logits | target |
| --- | --- | --- |
| binary | N 1 H W or N H W | a mask, N H W or N 1 H W: bool, integer or float, 0 to 1 |
| multilabel | N C H W | masks, N C H W |
| labels | N C H W | integers 0 to C - 1, N H W |

- **The shapes decide the task.** Logits are raw scores; what does not fit is an error that says what would.
- **float32 inside**, under autocast too. float64 stays.
- **`reduction`**: "mean"; "sum"; or "none", one value a pixel (BCE, CE, focal) or an image and class. A mean of pixels
  is over all valid pixels of the batch; a mean of images is first over the classes of each.
- **`ignore_index`**: pixels of this target value count neither in the loss nor in its mean, and what their logits hold,
  NaN too, does not matter. There is none unless it is given. A batch without any valid pixel gives 0.
- **Values are checked on a CPU only**: elsewhere they would have to be waited for. Shapes, dtypes and devices always
  are.

"""

TOGETHER = """\
## Several at once

```python
import torch
from saltzoo.losses import BCELoss, DeepSupervisionLoss, LovaszHingeLoss, WeightedSum, dice_loss

logits, masks = torch.randn(2, 1, 101, 101), torch.rand(2, 101, 101) > 0.5
each = dice_loss(logits, masks, empty="skip", reduction="none")  # a function; (2,)

both = WeightedSum([LovaszHingeLoss(margin="elu", symmetric=True), BCELoss()], weights=[0.0, 1.0])
loss = DeepSupervisionLoss(both, map_weight=0.1)  # of a SegOutput; of plain logits it is `both`
both.weights[:] = [1.0, 0.2]  # a schedule changes the weights between steps
total = loss(logits, masks)
```

The same from a recipe's file; losses inside of losses are given by a name, or by a table with a name:

```toml
[loss]
name = "deep_supervision"
map_weight = 0.1

[loss.loss]
name = "weighted_sum"
losses = [{ name = "lovasz_hinge", margin = "elu", symmetric = true }, "bce_loss"]
weights = [1.0, 0.2]
```

```python
import tomllib
from saltzoo.losses import create_loss

with open("recipe.toml", "rb") as file:
    loss = create_loss(tomllib.load(file)["loss"])
```

`register_loss` adds a name of your own.
"""

TABLE = """\
## Every loss

A name is the function's, and what `create_loss` takes; `deep_supervision` and `weighted_sum`, which are made of other
losses, are modules only. Beside the options listed, every function takes `ignore_index=None` and `reduction="mean"`.
"""

PIXEL = """\
## Curves

### One pixel

![Loss of one pixel of salt, and its slope, by its logit](pictures/pixel.svg)

For a pixel of background, mirror them. Focal loss lets go of a pixel that is right, the sooner the higher `gamma`, and
pushes one that is quite wrong harder than BCE does. The hinge pushes evenly until the pixel is right by 1, and stops;
elu + 1 fades out instead. In `lovasz_hinge` that is the margin alone: how much a pixel weighs is told by its rank among
the others.
"""

IMAGE = """\
### An image, from all wrong to all right

![Loss of an image and its gradient, by the logit that each pixel has towards the truth](pictures/certainty.svg)

A disc of salt of radius {radius:g} in {side} x {side} pixels. The sum of |gradient| says how fast the loss falls if
every logit moves the right way. Dice, Jaccard and Tversky are flat where all is wrong, as sigmoids are: start with BCE,
or add it. BCE pulls the harder the more is wrong, and the hinge evenly.

### A disc too small, and too large

![Loss and gradient by the radius of the predicted disc](pictures/size.svg)

The same disc of salt. The predicted one has logits of {certainty:g} inside and -{certainty:g} outside, and between
them an edge of {steepness:g} a pixel: no loss is 0 at the right radius. Beside Dice, Tversky with `alpha` .3 and `beta`
.7 is lighter on a disc that is too large, and harder on one that is too small.
"""

EMPTY = """\
## Empty masks side by side

![Loss of an empty tile, and the gradient of its median pixel, by the logit that all pixels have](pictures/empty.svg)

All pixels of an empty tile of {tile} x {tile} have one logit. The gradient is that of the median pixel, times the
number of pixels. What is below {faintest:g} is not drawn: the gradient of "skip", and of the plain Lovász hinge, where
one pixel has all of it.

**Smoothing alone hardly teaches.** In an untrained net the smoothed Dice loss of an empty tile pulls {times:,.0f} times
less than `empty="mean"`: P / (P + smooth) is next to 1 until the probabilities sum up to a pixel or so. It begins to
pull there, when the mask has long been empty.

In the table, of an empty tile with {pixels:,} pixels: *untrained*, all logits 0; *false alarm*, {alarm} pixels at
{high:g} among others at {low:g}; *all right*, all at {right:g}. A cell holds the loss; the share of pixels that get any
gradient; the largest gradient of a pixel, times the number of pixels. Losses of labels have a background's logit of 0
beside it.
"""

METRICS = """\
## Metrics

A loss is what a network learns by, and no measure of a mask. `saltzoo.metrics` measures: functions of masks, or of
probabilities for the search, and accumulators over batches and processes.
"""

AFTER_ROWS = """\
`topology_loss` compares an empty mask like any other; what a pixel gets depends on the features. `DeepSupervisionLoss`
leaves empty images out of the maps' losses (`skip_empty=True`), and only there. With `per_image=False` the batch is one
image, and empty only if all of its masks are.
"""
