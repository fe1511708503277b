"""Draw docs/pictures/section.jpg, the picture of the README: `python docs/make_section.py`.

Left, a synthetic section; right, the salt that `saltnet_s.sections` finds in it, in orange, and the outline of the true
salt, in blue.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

import saltzoo
from saltzoo.data import synthetic_tile

PICTURE = Path(__file__).parent / "pictures" / "section.jpg"
SEED, SIZE = 33, 360
GAP = 8


def section() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Return the section of the picture and its mask."""
    return synthetic_tile(SEED, size=SIZE)


def main() -> None:
    """Segment the section and write the picture."""
    image, truth = section()
    model = saltzoo.create_model("saltnet_s.sections", pretrained=True)
    mask = saltzoo.predict_tiled(model, image, tta="hflip") > 0.5
    plain = saltzoo.draw.overlay(image, mask & False)
    found = saltzoo.draw.overlay(image, mask, truth=truth)
    gap = np.full((SIZE, GAP, 3), 255, dtype=np.uint8)
    Image.fromarray(np.concatenate([plain, gap, found], axis=1)).save(PICTURE, quality=85, optimize=True)


if __name__ == "__main__":
    main()
