"""The quickstart example: synthetic tiles, images, the competition's tiles, and errors."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import saltzoo
from saltzoo.data import stratified_folds, synthetic_tiles

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
    quickstart.main(["--images", str(tmp_path / "a.png"), str(tmp_path / "deep.png"), "--out", str(tmp_path / "out")])
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"a_mask.png", "a_overlay.png", "deep_mask.png", "deep_overlay.png"}
    mask = picture(tmp_path / "out" / "a_mask.png")
    model = saltzoo.create_model("saltnet_s.tgs", pretrained=True)
    np.testing.assert_array_equal(mask > 0, saltzoo.predict(model, wide, tta="hflip") > 0.5)
    assert set(np.unique(mask)) <= {0, 255}
    np.testing.assert_array_equal(mask, picture(tmp_path / "out" / "deep_mask.png"))
    assert f"{(mask > 0).mean():.0%} salt" in capsys.readouterr().out


def test_tiles_of_the_competition_are_held_out(quickstart, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quickstart, "COUNT", 6)
    tiles = synthetic_tiles(40, seed=4)
    for kind, values in (("images", tiles.images), ("masks", tiles.require_masks() * np.uint8(255))):
        (tmp_path / "train" / kind).mkdir(parents=True)
        for name, value in zip(tiles.ids, values, strict=True):
            Image.fromarray(value).save(tmp_path / "train" / kind / f"{name}.png")
    shown = quickstart.held_out_tiles(str(tmp_path))
    read = saltzoo.data.read_tgs(tmp_path)
    fold = dict(zip(read.ids, stratified_folds(read.coverage, n_folds=5, seed=0), strict=True))
    assert len(shown) == 6
    assert {fold[name] for name in shown.ids} == {0}
    assert (np.diff(shown.coverage) >= 0).all()
    quickstart.main(["--data", str(tmp_path), "--out", str(tmp_path)])
    assert "on these 6 tiles" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "saltnet_s.none"], "error: no weights 'saltnet_s.none' are published"),
        (["--model", "local-dir:nowhere"], "error: no checkpoint at nowhere"),
        (["--images", "none.png"], "none.png"),
        (["--images", "a/x.png", "b/x.png"], "error: two of the --images have the same name"),
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
        quickstart.main(["--model", f"local-dir:{tmp_path / 'three'}"])
