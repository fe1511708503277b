"""Reader of the TGS Salt Identification Challenge, in the layout of its download."""

from __future__ import annotations

import csv
import io
import logging
import os
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from .._checks import check_choice
from ..seismic.masks import check_one_meaning, mask_of
from .tiles import Tiles

TILE_SIZE = 101  # height and width, pixels

_LAYOUT = (
    "give a folder that holds train.zip or test.zip (inside: images/ID.png and, for train, masks/ID.png), "
    "or these unpacked as train/images and train/masks, or as images and masks, or give the zip itself"
)
_IMAGE_MODES = ("L", "RGB")
_MASK_MODES = ("1", "L", "I;16", "I;16B", "I")  # Pillow reads a 16-bit PNG as I;16 or, in older versions, I

_log = logging.getLogger(__name__)


def read_tgs(root: str | os.PathLike[str], *, split: Literal["train", "test"] = "train") -> Tiles:
    """Read one split of the challenge: `read_tgs("tgs")`, `read_tgs("tgs/test.zip", split="test")`.

    `root` is a zip, a folder that holds `train.zip` or `test.zip`, or a folder of the unpacked files. In a folder with
    both, the zip is read, because it cannot be half unpacked. The files in a zip may lie in a folder `train/` or
    `test/`. `depths.csv` is searched in the folder, or beside the zip. The number of constant tiles, which never
    contain salt, is logged at level INFO.

    Args:
        root: folder or zip.
        split: "train", where every tile has a mask, or "test", where none has.

    Returns:
        Tiles of 101 x 101, sorted by id: images N H W uint8, masks N H W bool (None for "test"), depths in feet (NaN
        if unknown, None without `depths.csv`).

    Raises:
        FileNotFoundError: if `root` does not exist or holds no tile of this split.
        ValueError: if a zip, a PNG or `depths.csv` cannot be read, a tile or mask has another size or pixel format,
            an id occurs twice, the ids of tiles and masks differ, or a mask holds others than 0 and one of 1, 255 and
            65535, or some masks mark salt by 1 and others by white.
    """
    check_choice("split", split, ("train", "test"))
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f"{root} does not exist: {_LAYOUT}")
    with _open(root, split) as files:
        # Chosen once, so that tiles and masks come from the same copy.
        base = f"{split}/" if any(name.startswith(f"{split}/images/") for name in files.names) else ""
        image_names = _names_by_id(files, f"{base}images/")
        mask_names = _names_by_id(files, f"{base}masks/")
        if not image_names:
            raise FileNotFoundError(f"no {base}images/ID.png in {files.where} for split {split!r}: {_LAYOUT}")
        ids = tuple(sorted(image_names))
        if split == "train":
            _check_same_ids(image_names.keys(), mask_names.keys(), where=files.where)
        elif mask_names:
            raise ValueError(
                f"split 'test' has no masks, but {files.where} holds {len(mask_names)}: pass split='train'"
            )
        images = np.stack([_read_image(files, image_names[id_]) for id_ in ids])  # N H W
        masks = _read_masks(files, [mask_names[id_] for id_ in ids]) if split == "train" else None
    constant = int((images == images[:, :1, :1]).all(axis=(1, 2)).sum())
    _log.info("%s: %d tiles, %d of them constant (one gray level)", files.where, len(ids), constant)
    depths = _read_depths((root if root.is_dir() else root.parent) / "depths.csv", ids)
    return Tiles(ids=ids, images=images, masks=masks, depths=depths)


@dataclass(frozen=True)
class _Files:
    """Contents of a folder or zip: names with forward slashes, and a function that reads one."""

    where: Path
    names: Sequence[str]
    read: Callable[[str], bytes]


@contextmanager
def _open(root: Path, split: str) -> Iterator[_Files]:
    archive = root if root.is_file() else root / f"{split}.zip"
    if not archive.is_file():
        # List only the folders that can hold tiles: root may be a home directory.
        folders = [f"{base}{kind}" for base in (f"{split}/", "") for kind in ("images", "masks")]
        names = [f"{sub}/{name}" for sub in folders if (root / sub).is_dir() for name in os.listdir(root / sub)]
        yield _Files(root, names, lambda name: (root / name).read_bytes())
        return
    try:
        with zipfile.ZipFile(archive) as opened:
            yield _Files(archive, opened.namelist(), opened.read)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(
            f"{archive} is not a complete zip ({error}): download it again, or give a folder or another zip"
        ) from error


def _names_by_id(files: _Files, prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in files.names:
        stem, suffix = os.path.splitext(name.removeprefix(prefix))
        # macOS writes ._ID.png beside ID.png on disks of other systems.
        if not name.startswith(prefix) or suffix.lower() != ".png" or "/" in stem or stem.startswith("."):
            continue
        if stem in found:
            raise ValueError(f"the id {stem!r} occurs twice in {files.where}, as {found[stem]} and {name}: keep one")
        found[stem] = name
    return found


def _check_same_ids(images: Collection[str], masks: Collection[str], *, where: Path) -> None:
    bare, orphans = sorted(set(images) - set(masks)), sorted(set(masks) - set(images))
    if bare:
        raise ValueError(
            f"{len(bare)} of {len(images)} tiles in {where} have no mask (the first: {bare[0]}): "
            "add masks/ID.png, or read unlabelled tiles with split='test'"
        )
    if orphans:
        raise ValueError(
            f"{len(orphans)} of {len(masks)} masks in {where} have no tile (the first: {orphans[0]}): "
            "add images/ID.png, or delete the masks"
        )


def _read_image(files: _Files, name: str) -> npt.NDArray[np.uint8]:
    pixels = _decode(files, name, _IMAGE_MODES)
    if pixels.ndim == 2:
        return pixels
    if (pixels != pixels[..., :1]).any():
        raise ValueError(f"{name} in {files.where} is a colour image: tiles must be gray, or RGB with equal channels")
    return pixels[..., 0]


def _read_masks(files: _Files, names: Sequence[str]) -> npt.NDArray[np.bool_]:
    masks, values = [], {}
    for name in names:
        pixels = _decode(files, name, _MASK_MODES)
        mask, salt = mask_of(pixels, f"{name} in {files.where}")
        masks.append(mask)
        values[name] = salt if pixels.dtype != np.bool_ else 255 * salt
    check_one_meaning(values)
    return np.stack(masks)


def _decode(files: _Files, name: str, modes: tuple[str, ...]) -> npt.NDArray[Any]:
    data = files.read(name)
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            size, mode = picture.size, picture.mode
            # Size and mode come from the header, so a huge image is refused before it is decoded.
            pixels = np.asarray(picture) if size == (TILE_SIZE, TILE_SIZE) and mode in modes else None
    # Pillow raises all of these for broken PNGs. A decompression bomb is an image of another size.
    except (OSError, SyntaxError, ValueError, EOFError, zlib.error, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{name} in {files.where} cannot be decoded as PNG ({error}): replace it, or download it again"
        ) from error
    if size != (TILE_SIZE, TILE_SIZE):
        raise ValueError(
            f"{name} in {files.where} must be {TILE_SIZE} x {TILE_SIZE} pixels, as all files of this challenge are, "
            f"got {size[0]} x {size[1]}: give the original files"
        )
    if pixels is None:
        raise ValueError(
            f"{name} in {files.where} must have one of the Pillow modes {', '.join(modes)}, got {mode!r}: convert it"
        )
    return pixels


def _read_depths(path: Path, ids: Sequence[str]) -> npt.NDArray[np.float32] | None:
    if not path.is_file():
        return None
    depth_of: dict[str, float] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if not {"id", "z"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path} must have the columns id,z, got {rows.fieldnames}: use the original file")
        for row in rows:
            if row["id"] in depth_of:
                raise ValueError(f"the id {row['id']!r} occurs twice in {path}: keep one")
            try:
                depth_of[row["id"]] = float(row["z"])
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"{path}, line {rows.line_num}: the depth of {row['id']!r} must be a number, got {row['z']!r}: "
                    "correct it, or delete the line"
                ) from error
    return np.array([depth_of.get(id_, np.nan) for id_ in ids], dtype=np.float32)
