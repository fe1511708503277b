"""The generator of tiles: reproducible in every process, well formed, and close to real tiles."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from saltzoo.data.synthetic import synthetic_tile, synthetic_tiles


@pytest.fixture(scope="module")
def tiles():
    return synthetic_tiles(150, seed=0)


# Statistics of one tile or one mask.


def autocorrelation_across(image, lag):
    centred = image - image.mean()
    return (centred[:, lag:] * centred[:, :-lag]).mean() / centred.var()


def vertical_centroid(image):
    """Return the mean vertical frequency, weighted by power, cycles per pixel."""
    power = (np.abs(np.fft.rfft(image - image.mean(axis=0), axis=0)) ** 2).sum(axis=1)
    return (power * np.fft.rfftfreq(image.shape[0])).sum() / power.sum()


def grown(mask, pixels):
    """Return the mask dilated by a cross, `pixels` times."""
    for _ in range(pixels):
        padded = np.pad(mask, 1)
        mask = padded[1:-1, 1:-1] | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return mask


def salt_over_sediment(image, mask, *, gap=4, least=100):
    """Return the ratio of deviations, salt to sediment, away from the boundary; None if too few pixels are left."""
    salt, sediment = ~grown(~mask, gap), ~grown(mask, gap)
    if min(salt.sum(), sediment.sum()) < least:
        return None
    return image[salt].std() / image[sediment].std()


def boundary(mask):
    """Return the pixels of salt that touch a pixel without salt."""
    return mask & grown(~mask, 1)


# Reproducible


def test_one_seed_gives_the_same_tiles():
    first, second = synthetic_tiles(4, seed=5), synthetic_tiles(4, seed=5)
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.masks, second.masks)


def test_seeds_give_different_tiles():
    assert not np.array_equal(synthetic_tile(1)[0], synthetic_tile(2)[0])


def test_tiles_of_a_series_differ():
    images = synthetic_tiles(8, seed=3).images
    assert len({image.tobytes() for image in images}) == 8


def test_a_tile_alone_equals_the_tile_of_a_batch():
    batch = synthetic_tiles(6, seed=2)
    alone = synthetic_tiles(1, seed=2, start=4)
    assert alone.ids == (batch.ids[4],)
    np.testing.assert_array_equal(alone.images[0], batch.images[4])
    np.testing.assert_array_equal(alone.masks[0], batch.masks[4])


def test_synthetic_tile_is_the_first_of_its_series():
    image, mask = synthetic_tile(11)
    series = synthetic_tiles(1, seed=11)
    np.testing.assert_array_equal(image, series.images[0])
    np.testing.assert_array_equal(mask, series.masks[0])


def test_a_fresh_process_draws_the_same_tile():
    program = (
        "import hashlib; from saltzoo.data.synthetic import synthetic_tiles as draw; "
        "tiles = draw(2, seed=9, start=3); "
        "print(hashlib.sha256(tiles.images.tobytes() + tiles.masks.tobytes()).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    here = synthetic_tiles(2, seed=9, start=3)
    assert there.strip() == hashlib.sha256(here.images.tobytes() + here.masks.tobytes()).hexdigest()


def test_the_global_generator_keeps_its_state():
    np.random.seed(0)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    synthetic_tile(0)
    assert np.random.random() == expected  # noqa: NPY002


# Well formed


@pytest.mark.parametrize("size", [32, 33, 101, 128])
def test_shapes_and_types(size):
    image, mask = synthetic_tile(0, size=size)
    assert image.shape == mask.shape == (size, size)
    assert (image.dtype, mask.dtype) == (np.uint8, np.bool_)


def test_tiles_have_ids_masks_and_no_depths():
    tiles = synthetic_tiles(3, seed=0, start=16)
    assert tiles.ids == ("synthetic_0_000016", "synthetic_0_000017", "synthetic_0_000018")
    assert tiles.masks is not None
    assert tiles.depths is None


def test_a_count_of_0_gives_no_tiles():
    tiles = synthetic_tiles(0)
    assert len(tiles) == 0
    assert tiles.images.shape == (0, 101, 101)
    assert tiles.masks.shape == (0, 101, 101)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": -1}, "count must be 0 or more, got -1"),
        ({"count": 1, "seed": -2}, "seed must be 0 or more, got -2"),
        ({"count": 1, "start": -3}, "start must be 0 or more, got -3"),
        ({"count": 1, "size": 31}, "size must be at least 32 pixels, got 31"),
    ],
)
def test_errors_name_the_given_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        synthetic_tiles(**arguments)


def test_synthetic_tile_checks_its_arguments():
    with pytest.raises(TypeError, match="size must be a whole number, got '3'"):
        synthetic_tiles(1, size="3")
    with pytest.raises(ValueError, match="size must be at least 32"):
        synthetic_tile(0, size=8)
    with pytest.raises(ValueError, match="seed must be 0 or more"):
        synthetic_tile(-1)


# Close to real tiles: each comment gives the value for 1200 real tiles


def test_tiles_span_the_gray_range(tiles):
    assert (tiles.images.min(axis=(1, 2)) == 0).all()
    assert (tiles.images.max(axis=(1, 2)) == 255).all()


def test_autocorrelation_across(tiles):
    assert 0.35 < np.mean([autocorrelation_across(image, 4) for image in tiles.images]) < 0.60  # real: .47


def test_vertical_centroid(tiles):
    assert 0.04 < np.median([vertical_centroid(image) for image in tiles.images]) < 0.06  # real: .055


def test_salt_is_quieter_than_sediment(tiles):
    ratios = [salt_over_sediment(image, mask) for image, mask in zip(tiles.images, tiles.masks, strict=True)]
    assert 0.45 < np.median([ratio for ratio in ratios if ratio is not None]) < 0.75  # real: .61


def test_fraction_of_tiles_without_salt(tiles):
    assert 0.30 < (tiles.coverage == 0).mean() < 0.45  # real: .37


def test_coverage_of_tiles_with_salt(tiles):
    low, middle, high = np.percentile(tiles.coverage[tiles.coverage > 0], [10, 50, 90])
    assert low < 0.10  # real: .02
    assert 0.30 < middle < 0.45  # real: .36
    assert high > 0.80  # real: .90


def test_kurtosis(tiles):
    centred = tiles.images - tiles.images.mean(axis=(1, 2), keepdims=True)
    kurtosis = (centred**4).mean(axis=(1, 2)) / centred.var(axis=(1, 2)) ** 2
    assert 4.0 < np.median(kurtosis) < 6.5  # real: 4.9


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shift", [-3, 3])
def test_the_mask_lies_on_the_reflection(tiles, axis, shift):
    """A mask that is shifted by 3 pixels has less energy on its boundary."""
    aligned, moved = [], []
    inner = (slice(3, -3), slice(3, -3))
    for image, mask in zip(tiles.images, tiles.masks, strict=True):
        line = boundary(mask)
        line_moved = np.roll(line, shift, axis=axis)
        if min(line[inner].sum(), line_moved[inner].sum()) >= 20:
            energy = ((image - image.mean()) / image.std()) ** 2
            aligned.append(energy[inner][line[inner]].mean())
            moved.append(energy[inner][line_moved[inner]].mean())
    assert len(aligned) > 50
    assert np.mean(moved) < 0.8 * np.mean(aligned)


def test_a_series_of_no_tiles_is_empty():
    tiles = synthetic_tiles(0)
    assert len(tiles) == 0
    assert tiles.images.shape == tiles.require_masks().shape == (0, 101, 101)
    assert tiles.coverage.shape == (0,)
    assert tiles.select([]).ids == ()
    assert tiles.fingerprint.startswith("0 tiles")
