"""Which loss for what, in the words of docs/losses.md."""

from __future__ import annotations

from collections.abc import Sequence

CHOICES: Sequence[tuple[str, str, str]] = (
    (
        "salt or not, where many tiles are empty (39 % in the TGS challenge)",
        '`bce_loss`, then `lovasz_hinge(margin="elu", symmetric=True)` with a fifth of `bce_loss`',
        "BCE starts every pixel. The Lovász hinge then works on the Jaccard index, of which the challenge's score is "
        "made; its mirrored half reaches every pixel of an empty tile. [examples/train.py](../examples/train.py) goes "
        "from the one to the other by a ramp",
    ),
    (
        "a first run; probabilities that are to be taken at their word",
        "`bce_loss`, `ce_loss`",
        "Least where the probability is the true share. Overlap and Lovász losses drive pixels to 0 and 1",
    ),
    (
        "small bodies",
        "`bce_dice_loss`, `tversky_loss` beside `bce_loss`",
        "An overlap is of each image, so a small body weighs as much as a large one; in a mean over pixels it hardly "
        "counts. Tversky's `beta` above `alpha` makes a miss dearer than a false alarm",
    ),
    (
        "few pixels are salt",
        "`focal_loss`, `bce_loss(pos_weight=...)`",
        "Focal loss lets go of pixels that are right, so easy background no longer outweighs the rest. Both bend the "
        "probabilities: search the threshold (`saltzoo.metrics.search_threshold`)",
    ),
    (
        "several facies, one a pixel",
        "`ce_loss`, with `lovasz_softmax` or `dice_loss`",
        'As for salt. `classes="present"` and `empty="skip"` leave out facies that an image has not',
    ),
    (
        "classes that overlap, such as salt and fault",
        "`bce_loss`, `bce_dice_loss`, `lovasz_hinge`",
        "A mask in each channel, each a problem of its own",
    ),
    (
        "labels that may be wrong",
        "`bce_loss` of shares of salt, `ce_loss(label_smoothing=...)`; `ignore_index` where nobody knows",
        "A target between 0 and 1 says how sure it is. No loss here is made for wrong labels, and those that look for "
        "the hardest pixels (bootstrapped, focal, Lovász) look for wrong labels too",
    ),
    (
        "lines and gaps: what is connected",
        "`topology_loss`, lightly, beside `bce_loss`",
        "Compares maps of a frozen VGG19, or of any network that you have. The 15th place gave it a weight of .05",
    ),
    (
        "FRRN as in its paper",
        "`bootstrapped_ce`, `bootstrapped_bce`",
        "The mean of the K hardest pixels. The paper's K is a sixteenth of its pictures, and more than a tile of "
        "101 x 101 has: give a share there, `k=1/16`",
    ),
    (
        "a model with deep supervision, a classifier or an auxiliary head",
        "`DeepSupervisionLoss` around any of them",
        "Takes the model's `SegOutput`, and plain logits too",
    ),
    ("pixels without a label", "any of them, with `ignore_index`", "The mean is over the pixels that count"),
)

GAINS = """\
What it brings, by the word or the logs of the TGS challenge's public solutions, in that score: Lovász over BCE about
+.010; BCE changed into Lovász over a constant sum of both +.003; the symmetric form +.02 on the private board, which
nobody has verified; elu + 1 over relu from -.002 to "better". The 15th place counted +.007 for the topology loss, but
with twice the epochs. The same change gives folds gains that differ by .002 to .011: on one fold, less than .01 says
nothing. None of this was measured here.
"""
