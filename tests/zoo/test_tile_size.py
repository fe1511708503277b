"""The size of the tiles that weights were trained on: saved with them, and used for pictures larger than a tile."""

import json

import numpy as np
import pytest
from torch import nn

from saltzoo import Ensemble, Preprocess, create_model, predict_tiled, save_pretrained
from saltzoo.inference import Gated

PICTURE = np.random.default_rng(0).integers(0, 256, (90, 120), dtype=np.uint8)


class Seen(nn.Module):
    """A model that keeps the sizes of the tiles that it is given."""

    preprocess = Preprocess(mean=(0.5,), std=(0.2,))

    def __init__(self):
        super().__init__()
        self.sizes = set()

    def forward(self, x):
        self.sizes.add(tuple(x.shape[-2:]))
        return x


def tiny(tile_size=None):
    model = create_model("unet", encoder="test_resnet", decoder_channels=(8,) * 5)
    if tile_size:
        model.tile_size = tile_size
    return model


def sizes_seen(model, **options):
    predict_tiled(model, PICTURE, **options)
    return model.sizes


def test_tiles_have_the_size_of_the_training_tiles():
    assert sizes_seen(Seen()) == {(101, 101)}
    model = Seen()
    model.tile_size = (48, 64)
    assert sizes_seen(model) == {(48, 64)}
    assert sizes_seen(model, tile=32) == {(48, 64), (32, 32)}
    model = Seen()
    model.tile_size = 64  # not one of saltzoo's: a user's attribute of the same name
    assert sizes_seen(model) == {(101, 101)}


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: Ensemble([model, Seen()]), lambda model: model])
def test_wrappers_and_ensembles_pass_it_on(wrap):
    model = Seen()
    model.tile_size = (120, 80)
    wrapped = wrap(model)
    if isinstance(wrapped, nn.DataParallel):
        wrapped.preprocess = model.preprocess
    predict_tiled(wrapped, PICTURE)
    assert model.sizes == {(120, 101 if isinstance(wrapped, Ensemble) else 80)}  # the largest of each side
    assert Gated(wrapped).tile_size == (120, 101 if isinstance(wrapped, Ensemble) else 80)


def test_it_travels_with_the_weights(tmp_path):
    assert tiny().tile_size == (101, 101)
    folder = save_pretrained(tiny((64, 48)), tmp_path / "a")
    assert json.loads((folder / "config.json").read_text())["tile_size"] == [64, 48]
    assert "np.zeros((1, 64, 48)" in (folder / "README.md").read_text()
    model = create_model(f"local-dir:{folder}")
    assert model.tile_size == model.mask_only().tile_size == (64, 48)
    assert np.array_equal(predict_tiled(model, PICTURE), predict_tiled(model, PICTURE, tile=(64, 48)))
    assert not np.array_equal(predict_tiled(model, PICTURE), predict_tiled(model, PICTURE, tile=101))
    both = save_pretrained(Ensemble([model, tiny((40, 96))]), tmp_path / "both")
    again = create_model(f"local-dir:{both}")
    assert again.tile_size == (64, 96)
    assert [member.tile_size for member in again.members] == [(64, 48), (40, 96)]
    save_pretrained(model, tmp_path / "a", tile_size=(33, 34))
    assert create_model(f"local-dir:{folder}").tile_size == (33, 34)


def test_old_checkpoints_have_tiles_of_101(tmp_path):
    folder = save_pretrained(tiny((64, 48)), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    del config["tile_size"]
    (folder / "config.json").write_text(json.dumps(config))
    assert create_model(f"local-dir:{folder}").tile_size == (101, 101)


@pytest.mark.parametrize("wrong", [64, [64], [64, 0], [64, 48.0], [True, 48], "64"])
def test_a_wrong_size_is_refused(wrong, tmp_path):
    with pytest.raises(ValueError, match="tile_size must be two whole numbers of at least 1, height and width, got"):
        save_pretrained(tiny(), tmp_path / "new", tile_size=wrong)
    assert not (tmp_path / "new").exists()
    folder = save_pretrained(tiny(), tmp_path / "old")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tile_size": wrong}))
    with pytest.raises(ValueError, match="tile_size must be a list of two whole numbers, height and width"):
        create_model(f"local-dir:{folder}")
