"""predict_tiled: equality with the whole picture, brute force over tiles, geometry, amplitudes and errors."""

import re
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from saltzoo import Preprocess, predict, predict_tiled
from saltzoo.inference import _strips
from saltzoo.inference._axis import BLENDS, resampling, tile_starts, tile_weights

PREPARE = Preprocess(mean=(0.47,), std=(0.16,))


def network(radius=2, classes=1, seed=0):
    """Return a convolutional network with a receptive radius; 0 is a function of the pixel alone."""
    torch.manual_seed(seed)
    kernel = 2 * radius + 1
    model = nn.Sequential(nn.Conv2d(1, 4, kernel, padding=radius), nn.Tanh(), nn.Conv2d(4, classes, 1))
    model.preprocess = PREPARE
    return model


def picture(height=90, width=130, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def logits_by_hand(model, unit):
    with torch.no_grad():
        return model((torch.as_tensor(unit)[None, None] - 0.47) / 0.16)[0].numpy()


def starts_by_hand(size, tile, overlap):
    found, stride = [0], max(1, int(tile * (1 - overlap)))
    while found[-1] + tile < size:
        found.append(min(found[-1] + stride, size - tile))
    return found


def blended_by_hand(model, image, tile, overlap, window):
    """Return the logits of a picture by a double loop over tiles with a window of weights."""
    sums, weights = np.zeros(image.shape), np.zeros(image.shape)
    for y in starts_by_hand(image.shape[0], tile[0], overlap):
        for x in starts_by_hand(image.shape[1], tile[1], overlap):
            part = np.s_[y : y + tile[0], x : x + tile[1]]
            sums[part] += window * logits_by_hand(model, image[part].astype(np.float32) / 255)[0]
            weights[part] += window
    return sums / weights


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 60), st.integers(0, 150), st.floats(0, 0.95), st.sampled_from(BLENDS))
def test_weights_of_tiles_sum_to_one(tile, more, overlap, blend):
    starts = tile_starts(tile + more, tile, max(1, int(tile * (1 - overlap))))
    assert list(starts) == starts_by_hand(tile + more, tile, overlap)
    weights = tile_weights(starts, tile, blend)
    total = np.zeros(tile + more)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + tile] += weight
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert weights.min() >= 0
    if blend == "crop":
        assert set(np.unique(weights)) <= {0, 1}


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40))
def test_resampling_is_that_of_torch(old, new):
    values = torch.rand(1, 1, old, 3)  # torch 2.14 repeats the first sample of a single column
    want = F.interpolate(values, size=(new, 3), mode="bilinear", align_corners=False, antialias=True)[0, 0]
    got = resampling(old, new).apply(values[0, 0].numpy(), 0)
    np.testing.assert_allclose(got, want, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.floats(0, 0.9),
    st.sampled_from(BLENDS),
    st.integers(1, 20),
    st.booleans(),
)
def test_a_pointwise_network_gives_the_whole_picture(height, width, tile, overlap, blend, batch_size, columns):
    model, image = network(radius=0, classes=1 + 2 * (width % 2)), picture(height, width)
    image[0, :] = 0  # no trace is dead
    image[1:2, :] = 255
    want = predict(model, image)
    with pytest.MonkeyPatch.context() as patch:
        if columns:
            patch.setattr(_strips, "LARGE_STRIP", 0)
        got = predict_tiled(model, image, tile=tile, overlap=overlap, blend=blend, batch_size=batch_size)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(9, 70), st.integers(9, 70), st.integers(9, 30), st.integers(1, 4), st.booleans())
def test_margins_of_the_receptive_radius_give_the_whole_picture(height, width, tile, radius, columns):
    model = network(radius=radius)
    image = picture(max(height, tile), max(width, tile))
    # The least overlap whose half, cut in the middle, is at least the radius on both sides.
    overlap = min(1, 2 * radius / tile) if 2 * radius < tile else 0.9
    with pytest.MonkeyPatch.context() as patch:
        if columns:
            patch.setattr(_strips, "LARGE_STRIP", 0)
        got = predict_tiled(model, image, tile=tile, overlap=overlap, blend="crop")
    np.testing.assert_allclose(got, predict(model, image), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(9, 70), st.integers(9, 70), st.integers(9, 30), st.integers(1, 4), st.floats(0, 0.9))
def test_a_margin_of_the_receptive_radius_gives_the_whole_picture(height, width, tile, radius, overlap):
    model, image = network(radius=radius), picture(max(height, tile), max(width, tile))
    got = predict_tiled(model, image, tile=tile, overlap=overlap, blend="crop", margin=radius)
    np.testing.assert_allclose(got, predict(model, image), atol=1e-5)


@pytest.mark.parametrize("margin", [0, 3, 9])
def test_a_margin_decides_how_far_tiles_overlap(margin):
    model, image = network(radius=4), picture(20, 130)
    starts = [*range(0, 130 - 20, 20 - 2 * margin), 110]
    cuts = [0, *((left + 20 + right) // 2 for left, right in pairwise(starts)), 130]
    tiles = [logits_by_hand(model, image[:, start : start + 20].astype(np.float32) / 255)[0] for start in starts]
    parts = [one[:, a - start : b - start] for one, start, a, b in zip(tiles, starts, cuts, cuts[1:], strict=False)]
    got = predict_tiled(model, image, tile=20, blend="crop", margin=margin)
    np.testing.assert_allclose(got, sigmoid(np.concatenate(parts, 1)), atol=1e-5)
    assert all(b - start <= 20 - margin for start, b in zip(starts[:-1], cuts[1:], strict=False))


def test_a_margin_below_the_receptive_radius_does_not():
    model, image = network(radius=4), picture()
    assert np.abs(predict_tiled(model, image, tile=20, blend="crop", margin=3) - predict(model, image)).max() > 0.01
    assert np.abs(predict_tiled(model, image, tile=20, overlap=0.1, blend="crop") - predict(model, image)).max() > 0.01


def test_a_network_with_strides_gives_the_whole_picture_on_its_grid():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(4, 1, 1), nn.Upsample(scale_factor=4)
    )
    model.preprocess = PREPARE
    image = picture(96, 128)
    got = predict_tiled(model, image, tile=32, overlap=0.5, blend="crop")
    np.testing.assert_allclose(got, predict(model, image), atol=1e-5)
    assert np.abs(predict_tiled(model, image, tile=32, overlap=0.4, blend="crop") - got).max() > 0.01
    with pytest.raises(ValueError, match=r"maps of the size of its input, got 28 x 28 for 30 x 30: give another tile"):
        predict_tiled(model, image, tile=30)


@pytest.mark.parametrize("overlap", [0, 0.3, 0.5, 0.75])
@pytest.mark.parametrize("blend", ["uniform", "gaussian"])
def test_equals_a_loop_over_tiles(blend, overlap):
    model, image, tile = network(radius=6), picture(), (40, 31)
    windows = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n / 6)) ** 2) for n in tile]
    window = np.outer(*windows) if blend == "gaussian" else np.ones(tile)
    want = sigmoid(blended_by_hand(model, image, tile, overlap, window))
    got = predict_tiled(model, image, tile=tile, overlap=overlap, blend=blend, batch_size=3)
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert np.abs(got - predict(model, image)).max() > 1e-3  # the tiles matter


def test_equals_monai():
    from monai.inferers import sliding_window_inference

    model, image = network(radius=6), picture(150, 210)
    window = np.exp(-0.5 * ((np.arange(48) - 23.5) / 8) ** 2)
    with torch.no_grad():
        logits = sliding_window_inference(
            (torch.from_numpy(image)[None, None] / 255 - 0.47) / 0.16,
            (48, 48),
            4,
            model,
            overlap=0.5,
            roi_weight_map=torch.from_numpy(np.outer(window, window)).float()[None, None],
        )
    got = predict_tiled(model, image, tile=48)
    np.testing.assert_allclose(got, logits[0, 0].sigmoid(), atol=1e-5)


@pytest.mark.parametrize("size", [(20, 90), (90, 20), (7, 5), (1, 1), (39, 40)])
def test_only_a_picture_smaller_than_a_tile_is_reflected(size):
    model, image = network(radius=6), picture(*size)
    image[:1] = np.arange(size[1]) % 200
    more = [max(0, 40 - side) for side in size]
    before = [one // 2 for one in more]
    padded = np.pad(image, [(b, m - b) for b, m in zip(before, more, strict=True)], mode="reflect")
    want = sigmoid(blended_by_hand(model, padded, (40, 40), 0.5, np.ones((40, 40))))
    got = predict_tiled(model, image, tile=40, blend="uniform", fill=0.5)
    part = want[before[0] : before[0] + size[0], before[1] : before[1] + size[1]]
    np.testing.assert_allclose(got, part, atol=1e-5)


@pytest.mark.parametrize("tta", [None, "hflip"])
def test_a_picture_of_one_tile_is_what_predict_gives(tta):
    model, image = network(radius=6, classes=3), picture(101, 101)
    np.testing.assert_allclose(predict_tiled(model, image, tta=tta), predict(model, image, tta=tta), atol=1e-6)


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("scale", [(0.5, 1.7), (2.3, 0.4), (1.0, 0.9), (0.2, 0.2), (3.1, 3.1)])
def test_scale_resamples_to_the_network_and_back(scale, columns, monkeypatch):
    model, image = network(radius=0), picture(64, 83)
    if columns:
        monkeypatch.setattr(_strips, "LARGE_STRIP", 0)
    size = [round(side * factor) for side, factor in zip(image.shape, scale, strict=True)]
    resize = {"mode": "bilinear", "align_corners": False, "antialias": True}
    scaled = F.interpolate(torch.from_numpy(image / np.float32(255))[None, None], size=size, **resize)
    probabilities = torch.from_numpy(sigmoid(logits_by_hand(model, scaled[0, 0])))[None]
    want = F.interpolate(probabilities, size=image.shape, **resize)[0, 0]
    got = predict_tiled(model, image, tile=19, scale=scale)
    np.testing.assert_allclose(got, want, atol=1e-5)


def amplitudes(height=90, width=130, seed=0):
    return (np.random.default_rng(seed).standard_t(3, (height, width)) * 700 - 40).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32, ">f4"])
@pytest.mark.parametrize("polarity", [1, -1])
def test_survey_amplitudes_become_values_by_the_statistics_of_the_whole_picture(polarity, dtype):
    model, section = network(radius=0), amplitudes()
    section[:30] *= 8  # tiles differ in their statistics
    section = section.astype(dtype)
    median = np.median(section)
    deviation = 1.4826 * np.median(np.abs(section - median))
    unit = np.clip(124 + 28 * polarity * (section.astype(np.float64) - median) / deviation, 0, 255) / 255
    want = sigmoid(logits_by_hand(model, unit.astype(np.float32)))[0]
    options = {"tile": 20, "polarity": polarity}
    np.testing.assert_allclose(predict_tiled(model, section, normalize="survey", **options), want, atol=1e-4)
    given_numbers = predict_tiled(model, section, normalize=(float(median), float(deviation)), **options)
    np.testing.assert_allclose(given_numbers, want, atol=1e-4)


def test_polarity_of_an_image_is_its_negative():
    model, image = network(), picture()
    np.testing.assert_allclose(predict_tiled(model, image, polarity=-1), predict_tiled(model, 255 - image), atol=1e-5)


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("normalize", ["image", "survey"])
def test_unknown_samples_and_dead_traces_come_back_as_nan(normalize, columns, monkeypatch):
    if columns:
        monkeypatch.setattr(_strips, "LARGE_STRIP", 0)
    model = network(radius=0)
    section = amplitudes() if normalize == "survey" else picture().astype(np.float32) / 255
    clean = section[:, 5:].copy()
    section[:, :3] = 0.25  # dead, and so many that they would move the median
    section[:, 3], section[:, 4] = np.nan, np.inf
    section[10:20, 50:60] = np.nan
    section[40, 70:72] = -np.inf, np.inf
    missing = ~np.isfinite(section)
    missing[:, :5] = True
    got = predict_tiled(model, section, normalize=normalize, tile=20)
    np.testing.assert_array_equal(np.isnan(got), missing)
    rest = ~missing[:, 5:]
    if normalize == "survey":
        known = clean[rest]
        median = np.median(known)
        numbers = (float(median), float(1.4826 * np.median(np.abs(known - median))))
    else:
        numbers = "image"
    want = predict_tiled(model, clean, tile=20, normalize=numbers)
    np.testing.assert_allclose(got[:, 5:][rest], want[rest], atol=1e-4)
    zeros = predict_tiled(model, section, normalize=normalize, tile=20, fill=0)
    np.testing.assert_array_equal(zeros, np.nan_to_num(got))


@pytest.mark.parametrize(("value", "dtype"), [(0, np.uint8), (np.nan, np.float32), (7.5, np.float32)])
def test_a_picture_without_a_live_trace_has_no_answer(value, dtype):
    section = np.full((50, 60), value, dtype)
    assert np.isnan(predict_tiled(network(), section, normalize="survey", tile=20)).all()
    if value != 7.5:
        assert np.isnan(predict_tiled(network(), section, tile=20)).all()


class SlicesOnly:
    """A picture that only slices, as a file of chunks does, and counts what is read."""

    def __init__(self, array):
        self._array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, 0

    def __getitem__(self, part):
        values = self._array[part]
        self.read += values.size
        return values.copy()


def test_takes_what_slices_and_reads_it_twice_at_most():
    model, image = network(), picture()
    want = predict_tiled(model, image, tile=20)
    file = SlicesOnly(image)
    np.testing.assert_array_equal(predict_tiled(model, file, tile=20), want)
    assert file.read <= 2 * image.size
    np.testing.assert_array_equal(predict_tiled(model, torch.from_numpy(image), tile=20), want)
    np.testing.assert_array_equal(predict_tiled(model, image.astype(">u2") * 257, tile=20), want)
    np.testing.assert_array_equal(predict_tiled(model, np.asfortranarray(image), tile=20), want)


def test_progress_counts_tiles_and_memory_is_that_of_a_strip():
    model, seen, shapes = network(), [], []
    model.register_forward_pre_hook(lambda _module, args: shapes.append(args[0].shape))
    predict_tiled(model, picture(100, 60), tile=20, batch_size=4, progress=lambda *done: seen.append(done))
    assert seen == [(5 * strip, 45) for strip in range(1, 10)]
    assert sum(shape[0] for shape in shapes) == 45
    assert {shape[0] for shape in shapes} == {1, 4}


@pytest.mark.parametrize(
    ("given", "options", "kind", "words"),
    [
        ("a.png", {}, TypeError, "picture must slice like an array (numpy, a memory map, zarr, h5py), got str"),
        (picture()[None], {}, ValueError, "picture must be gray, (height, width) with one or more samples, got (1, 90"),
        (picture()[:0], {}, ValueError, "got (0, 130)"),
        (picture() > 3, {}, ValueError, "picture must hold integers or floating-point numbers, got bool"),
        (
            picture().astype(int),
            {},
            ValueError,
            "must be uint8, uint16 or floating point in 0..1, got int64: give norm",
        ),
        (amplitudes(), {}, ValueError, "must be in 0..1, got "),
        (picture(), {"tile": 0}, ValueError, "tile must be at least 1, got (0, 0)"),
        (picture(), {"tile": (20, 2.5)}, TypeError, "tile must be one whole number or two, height and width, got (20"),
        (picture(), {"tile": "big"}, TypeError, "tile must be one whole number or two"),
        (picture(), {"overlap": 1.0}, ValueError, "overlap must be at least 0 and below 1, got 1.0"),
        (picture(), {"overlap": "0.5"}, TypeError, "overlap must be a number of at least 0 and below 1, got '0.5'"),
        (picture(), {"margin": 8}, ValueError, "margin must be None with blend='gaussian', got 8: give blend=\"crop\""),
        (picture(), {"margin": 51, "blend": "crop"}, ValueError, "margin must be 0 to 50, so that it leaves some of a"),
        (picture(), {"margin": -1, "blend": "crop"}, ValueError, "margin must be 0 to 50"),
        (picture(), {"margin": 0.5, "blend": "crop"}, TypeError, "margin must be a whole number of samples or None"),
        (picture(), {"scalar": "deep"}, TypeError, "scalar must be a number, got 'deep'"),
        (picture(), {"fill": "nan"}, TypeError, "fill must be a number, got 'nan'"),
        (picture(), {"scale": ("1", 1)}, ValueError, "scale must be two finite numbers above 0"),
        (picture(), {"normalize": ("0", 1)}, ValueError, 'normalize must be "image", "survey" or a finite median'),
        (picture(), {"blend": "linear"}, ValueError, "unknown blend 'linear': choose one of 'gaussian'"),
        (picture(), {"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        (picture(), {"scale": (1, 0)}, ValueError, "scale must be two finite numbers above 0, vertical and horizontal"),
        (picture(), {"scale": 2}, ValueError, "scale must be two finite numbers above 0"),
        (picture(), {"polarity": 0}, ValueError, "unknown polarity 0: choose one of 1, -1"),
        (picture(), {"normalize": "tile"}, ValueError, "unknown normalize 'tile': choose one of 'image', 'survey'"),
        (picture(), {"normalize": (0.0, -1.0)}, ValueError, "a finite median and a deviation above 0, got (0.0, -1.0)"),
        (picture(), {"scalar": 3.0}, ValueError, "drop scalars"),
        (picture(), {"out": 3}, TypeError, "out must be None, a path that ends in .npy, or an array that takes slices"),
        (picture(), {"out": "a.tif"}, ValueError, "out must be a path that ends in .npy"),
        (picture(), {"out": "none/a.npy"}, ValueError, "out must be a file in a folder that exists"),
        (
            picture(),
            {"out": np.zeros((90, 131))},
            ValueError,
            "out must be a floating-point array (90, 130), got (90, 1",
        ),
        (picture(), {"out": np.zeros((90, 130), int)}, ValueError, "got (90, 130) int64"),
        (picture(), {"resume": True}, ValueError, "resume must be the path of a file that keeps the state"),
        (picture(), {"resume": "none/state.json"}, ValueError, "resume must be a file in a folder that exists"),
    ],
)
def test_errors_name_the_given_value(given, options, kind, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=re.escape(words)):
        predict_tiled(network(), given, **options)
    assert list(tmp_path.iterdir()) == []


def test_refuses_a_model_without_a_preprocess():
    with pytest.raises(TypeError, match="Conv2d is not a saltzoo model"):
        predict_tiled(nn.Conv2d(1, 1, 1), picture())
