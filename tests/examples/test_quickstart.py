"""The quickstart example: synthetic tiles, images, the competition's tiles, and errors."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import saltzoo
from saltzoo.data import folds_by_id, synthetic_tiles

SCRIPT = Path(__file__).parents[2] / "examples" / "quickstart.py"


@pytest.fixture(scope="module")
def quickstart():
    spec = importlib.util.spec_from_file_location("quickstart", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def picture(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_without_options_it_segments_synthetic_tiles(quickstart, tmp_path, capsys):
    quickstart.main(["--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "on these 24 tiles" in printed
    tiles = synthetic_tiles(24, seed=2)
    blank = saltzoo.metrics.salt_map(np.zeros_like(tiles.require_masks()), tiles.require_masks())
    assert float(printed.split()[1]) > blank + 0.05
    sheet = picture(tmp_path / "quickstart.png")
    assert sheet.shape[0] > 4 * 101
    assert sheet.shape[1] > 6 * 101


def test_images_of_any_size_get_masks_and_overlays(quickstart, tmp_path, capsys):
    tiles = synthetic_tiles(1, seed=5)
    wide = np.tile(tiles.images[0], (1, 2))[:, :150]
    Image.fromarray(wide).save(tmp_path / "a.png")
    Image.fromarray(wide.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(tiles.images[0]).save(tmp_path / "tile.png")
    paths = [str(tmp_path / f"{name}.png") for name in ("a", "deep", "tile")]
    quickstart.main(["--images", *paths, "--out", str(tmp_path / "out")])
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"{name}_{kind}.png" for name in ("a", "deep", "tile") for kind in ("mask", "overlay")}
    mask = picture(tmp_path / "out" / "a_mask.png")
    model = saltzoo.create_model("saltnet_s.wide2", pretrained=True)
    expected = saltzoo.predict(model, tiles.images[0], tta="hflip") > 0.5
    np.testing.assert_array_equal(picture(tmp_path / "out" / "tile_mask.png") > 0, expected)
    assert mask.shape == picture(tmp_path / "out" / "a_overlay.png").shape[:2] == wide.shape
    assert set(np.unique(mask)) <= {0, 255}
    np.testing.assert_array_equal(mask, picture(tmp_path / "out" / "deep_mask.png"))
    assert f"{(mask > 0).mean():.1%} salt" in capsys.readouterr().out


def test_tiles_of_the_competition_are_held_out(quickstart, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quickstart, "COUNT", 6)
    tiles = synthetic_tiles(40, seed=4)
    for kind, values in (("images", tiles.images), ("masks", tiles.require_masks() * np.uint8(255))):
        (tmp_path / "train" / kind).mkdir(parents=True)
        for name, value in zip(tiles.ids, values, strict=True):
            Image.fromarray(value).save(tmp_path / "train" / kind / f"{name}.png")
    shown = quickstart.held_out_tiles(str(tmp_path))
    read = saltzoo.data.read_tgs(tmp_path)
    fold = dict(zip(read.ids, folds_by_id(read.ids), strict=True))
    assert len(shown) == 6
    assert {fold[name] for name in shown.ids} == {0}
    assert (np.diff(shown.coverage) >= 0).all()
    quickstart.main(["--data", str(tmp_path), "--out", str(tmp_path)])
    assert "on these 6 tiles" in capsys.readouterr().out


def segment(quickstart, *words):
    """Run the example, and return the words of its error, or None."""
    try:
        quickstart.main(list(map(str, words)))
    except SystemExit as stopped:
        return str(stopped.code)
    return None


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_one_tile_in_every_kind_of_file_has_one_mask(quickstart, tmp_path):
    gray = synthetic_tiles(1, seed=5).images[0]
    told = {
        "gray": (gray, "png", None),
        "deep": (gray.astype(np.uint16) * 257, "tif", None),
        "unit": ((gray / 255).astype(np.float32), "tif", (0, 1)),
        "signed": (gray.astype(np.int32) * 30 - 3825, "tif", (-3825, 3825)),
    }
    masks = []
    for name, (pixels, suffix, value_range) in told.items():
        path = tmp_path / f"{name}.{suffix}"
        Image.fromarray(pixels).save(path)
        range_words = [] if value_range is None else ["--value-range", *value_range]
        if value_range is not None:
            assert "pass --value-range" in segment(quickstart, "--images", path, "--out", tmp_path / "out")
        assert segment(quickstart, "--images", path, "--out", tmp_path / "out", *range_words) is None
        masks.append(picture(tmp_path / "out" / f"{name}_mask.png"))
    assert masks[0].any()
    for mask in masks[1:]:
        np.testing.assert_array_equal(mask, masks[0])


def test_a_page_is_chosen(quickstart, tmp_path):
    pages = [Image.fromarray(tile) for tile in synthetic_tiles(2, seed=5).images]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert "has 2 pages: pass --page 0 to --page 1" in segment(
        quickstart, "--images", tmp_path / "a.tif", "--out", tmp_path
    )
    assert segment(quickstart, "--images", tmp_path / "a.tif", "--page", 1, "--out", tmp_path) is None
    pages[1].save(tmp_path / "b.png")
    segment(quickstart, "--images", tmp_path / "b.png", "--out", tmp_path)
    assert (tmp_path / "a_mask.png").read_bytes() == (tmp_path / "b_mask.png").read_bytes()


@pytest.mark.parametrize("name", ["x_mask.png", "x_overlay.png"])
def test_files_that_are_there_are_kept_unless_told(quickstart, tmp_path, name):
    image = Image.fromarray(synthetic_tiles(1, seed=5).images[0])
    image.save(tmp_path / "x.png")
    (tmp_path / name).write_text("drawn by hand")
    before = contents(tmp_path)
    words = ["--images", tmp_path / "x.png", "--out", tmp_path]
    assert f"already there: {tmp_path / name}. Choose another --out, replace with" in segment(quickstart, *words)
    assert contents(tmp_path) == before
    assert segment(quickstart, *words, "--overwrite") is None
    assert picture(tmp_path / name).shape[:2] == (101, 101)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.png", "x_mask.png", "x_overlay.png"]


def test_a_dangling_link_is_kept(quickstart, tmp_path):
    Image.fromarray(synthetic_tiles(1, seed=5).images[0]).save(tmp_path / "x.png")
    (tmp_path / "x_mask.png").symlink_to(tmp_path / "elsewhere.png")
    assert "already there" in segment(quickstart, "--images", tmp_path / "x.png", "--out", tmp_path)
    assert (tmp_path / "x_mask.png").is_symlink()


def test_an_image_is_never_replaced(quickstart, tmp_path):
    image = Image.fromarray(synthetic_tiles(1, seed=5).images[0])
    image.save(tmp_path / "x.png")
    image.save(tmp_path / "x_mask.png")
    before = contents(tmp_path)
    words = ["--images", tmp_path / "x.png", tmp_path / "x_mask.png", "--out", tmp_path, "--overwrite"]
    assert "x_mask.png is one of the pictures and would be replaced" in segment(quickstart, *words)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("second", ["a/x.tif", "b/x.png", "b/X.png", "b/x.jpg"])
def test_two_images_of_one_output_are_refused_before_anything_is_written(quickstart, tmp_path, second):
    for name in ("a/x.png", second):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(synthetic_tiles(1, seed=5).images[0]).save(tmp_path / name)
    words = ["--images", tmp_path / "a/x.png", tmp_path / second, "--out", tmp_path / "out"]
    assert "two pictures have the same name" in segment(quickstart, *words)
    assert not (tmp_path / "out").exists()


def test_an_image_that_cannot_be_read_costs_the_others_nothing(quickstart, tmp_path):
    Image.fromarray(synthetic_tiles(1, seed=5).images[0]).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:900])
    words = ["--images", tmp_path / "b.png", tmp_path / "a.png", "--out", tmp_path / "out"]
    assert "b.png cannot be read as a picture" in segment(quickstart, *words)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_mask.png", "a_overlay.png"]


def test_the_sheet_is_kept_unless_told(quickstart, tmp_path, monkeypatch):
    monkeypatch.setattr(quickstart, "COUNT", 2)
    (tmp_path / "quickstart.png").write_text("mine")
    assert "quickstart.png" in segment(quickstart, "--out", tmp_path)
    assert (tmp_path / "quickstart.png").read_text() == "mine"
    assert segment(quickstart, "--out", tmp_path, "--overwrite") is None
    assert picture(tmp_path / "quickstart.png").ndim == 3


def test_how_to_read_images_needs_images(quickstart, tmp_path):
    assert "say how to read --images" in segment(quickstart, "--value-range", 0, 1, "--out", tmp_path)
    assert "say how to read --images" in segment(quickstart, "--page", 0, "--out", tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "saltnet_s.none"], "error: no weights 'saltnet_s.none' are published"),
        (["--model", "local-dir:nowhere"], "error: no checkpoint at nowhere"),
        (["--images", "none.png"], "none.png"),
        (["--images", "a/x.png", "b/x.png"], "error: two pictures have the same name"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_errors_are_reported_in_one_line(quickstart, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        quickstart.main(words)
    assert message in str(stopped.value)
    assert not list(tmp_path.glob("*.png"))


def test_a_model_of_several_classes_is_refused(quickstart, tmp_path):
    model = saltzoo.create_model("saltnet_s", num_classes=3)
    saltzoo.save_pretrained(model, tmp_path / "three")
    with pytest.raises(SystemExit, match="has 3 classes"):
        quickstart.main(["--model", f"local-dir:{tmp_path / 'three'}", "--out", str(tmp_path / "picture.png")])
