"""The example of training on sections: its tiles, and a run whose card names the competition's held-out tiles."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saltzoo.data import Tiles, folds_by_id, picture_of, read_tgs, synthetic_tile, synthetic_tiles
from saltzoo.training.held_out import unseen
from saltzoo.zoo.sources import load_weights

SCRIPT = Path(__file__).parents[2] / "examples" / "train_sections.py"


@pytest.fixture
def example(monkeypatch):
    spec = importlib.util.spec_from_file_location("train_sections", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SECTIONS", (("big", 606, 2, 50_000), ("mid", 404, 1, 60_000)))
    return module


def test_the_tiles_of_a_section_are_the_section(example):
    big, mid = example.sections(1.0)
    assert (len(big), len(mid)) == (2 * 9, 4)
    assert {picture_of(id_) for id_ in big.ids} == {"big00000", "big00001"}
    assert len({*folds_by_id(big.ids[:9], group=picture_of)}) == 1
    section, mask = synthetic_tile(50_001, size=606)
    for found, want in ((big.images[9:], section), (big.require_masks()[9:], mask)):
        rows = [np.concatenate(found[first : first + 3], axis=1) for first in (0, 3, 6)]
        np.testing.assert_array_equal(np.concatenate(rows), want)


def test_tiles_of_twice_the_size_keep_their_means_and_masks(example):
    tiles = synthetic_tiles(3, seed=6)
    found = example.resampled(tiles)
    assert (found.ids, found.images.shape) == (tiles.ids, (3, 202, 202))
    halves = found.images.reshape(3, 101, 2, 101, 2).mean((2, 4))
    # Of the four new pixels of an old one, the mean has its weights 1/8, 3/4 and 1/8 along each axis.
    padded = np.pad(tiles.images.astype(float), ((0, 0), (1, 1), (1, 1)), mode="edge")
    weight = np.outer([0.125, 0.75, 0.125], [0.125, 0.75, 0.125])
    want = sum(weight[r, c] * padded[:, r : r + 101, c : c + 101] for r in range(3) for c in range(3))
    np.testing.assert_allclose(halves, want, atol=0.5)
    assert found.coverage == pytest.approx(tiles.coverage, abs=0.01)
    inner = tiles.require_masks()[:, 1:-1, 1:-1]
    same = np.stack(
        [tiles.require_masks()[:, 1 + r : 100 + r, 1 + c : 100 + c] for r in (-1, 0, 1) for c in (-1, 0, 1)]
    )
    flat = (same == inner).all(0)  # far from boundaries
    big = found.require_masks()[:, 2:-2, 2:-2]
    np.testing.assert_array_equal(big[:, ::2, ::2][flat], inner[flat])


def test_parts_are_joined_in_their_order(example):
    a, b = synthetic_tiles(2, seed=1, size=40), synthetic_tiles(1, seed=2, size=40)
    found = example.joined([a, b])
    assert isinstance(found, Tiles)
    assert found.ids == (*a.ids, *b.ids)
    np.testing.assert_array_equal(found.images[2], b.images[0])


@pytest.mark.slow
def test_a_run_names_the_held_out_tiles_of_the_competition(tmp_path):
    tiles = synthetic_tiles(12, seed=4)
    for kind, values in (("images", tiles.images), ("masks", tiles.require_masks() * np.uint8(255))):
        (tmp_path / "train" / kind).mkdir(parents=True)
        for name, value in zip(tiles.ids, values, strict=True):
            Image.fromarray(value).save(tmp_path / "train" / kind / f"{name}.png")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('batch_size = 4\nepochs = 2\n[model]\nname = "saltnet_s"\n')
    words = ["--data", str(tmp_path), "--recipe", str(recipe), "--share", "0.001", "--out", str(tmp_path / "run")]
    for more in (["--epochs", "1"], []):  # the second call goes on with the run
        done = subprocess.run([sys.executable, str(SCRIPT), *words, *more], capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
    config = load_weights(f"local-dir:{tmp_path / 'run' / 'model'}").config
    read = read_tgs(tmp_path)
    held_out = read.select(folds_by_id(read.ids) == 0)
    assert unseen(config, held_out) == "yes"
    assert [metric["name"] for metric in config["metrics"]] == ["salt_map", "salt_map_hflip"]
    assert f"{config['metrics'][0]['value']:.4f}" in done.stdout
    assert config["metrics"][0]["epoch"] == "2 of 2"
    assert config["tile_size"] == [202, 202]
