"""Base of the accumulators that count pixels of classes."""

from collections.abc import Sequence

from ._accumulator import Accumulator
from ._class_mean import ClassAverage
from ._counts import Counts, class_counts
from ._masks import Mask
from ._options import Average, Empty, check_options


class ClassAccumulator(Accumulator):
    """Accumulator with the options of `iou_score`, which it keeps as attributes."""

    def __init__(
        self,
        *,
        average: Average = "micro",
        class_average: ClassAverage = "macro",
        num_classes: int | None = None,
        classes: Sequence[int] | None = None,
        ignore_index: int | None = None,
        empty: Empty = "perfect",
    ) -> None:
        check_options(average, num_classes, empty, class_average=class_average, classes=classes)
        self.average: Average = average
        self.class_average: ClassAverage = class_average
        self.num_classes = num_classes
        self.classes: tuple[int, ...] | None = None if classes is None else tuple(classes)
        self.ignore_index = ignore_index
        self.empty: Empty = empty
        super().__init__(
            average=average,
            class_average=class_average,
            num_classes=num_classes,
            classes=self.classes,
            ignore_index=ignore_index,
            empty=empty,
        )

    def _counts(self, pred_masks: Mask, target_masks: Mask) -> Counts:
        """Return the counts of a batch, for each image and class that is scored."""
        return class_counts(
            pred_masks,
            target_masks,
            num_classes=self.num_classes,
            classes=self.classes,
            ignore_index=self.ignore_index,
        )
