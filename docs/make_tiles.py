"""Draw docs/pictures/tiles.png, the picture of the README: `python docs/make_tiles.py`.

The upper row shows synthetic tiles of examples/quickstart.py. The lower row shows the same tiles with the salt that
`saltnet_s.wide2` finds in orange, and the outline of the true mask in blue.
"""

from __future__ import annotations

from pathlib import Path

import saltzoo
from saltzoo.data import Tiles, synthetic_tiles

PICTURE = Path(__file__).parent / "pictures" / "tiles.png"
SHOWN = (5, 8, 2, 13, 15, 10)


def tiles() -> Tiles:
    """Return the tiles of the picture."""
    return synthetic_tiles(24, seed=2).select(list(SHOWN))


def main() -> None:
    """Segment the tiles and write the picture."""
    shown = tiles()
    truths = shown.require_masks()
    model = saltzoo.create_model("saltnet_s.wide2", pretrained=True)
    masks = saltzoo.predict(model, shown.images, tta="hflip") > 0.5
    plain = [saltzoo.draw.overlay(image, mask & False) for image, mask in zip(shown.images, masks, strict=True)]
    found = [
        saltzoo.draw.overlay(image, mask, truth=truth)
        for image, mask, truth in zip(shown.images, masks, truths, strict=True)
    ]
    saltzoo.draw.save_png(saltzoo.draw.contact_sheet([*plain, *found], columns=len(SHOWN)), PICTURE, overwrite=True)


if __name__ == "__main__":
    main()
