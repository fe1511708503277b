"""The synthetic survey: one survey whatever the slabs, one body, and lines that resemble tiles in both directions."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from saltzoo.data import SyntheticSurvey, make_survey, synthetic_tiles

SHAPE = (40, 44, 96)
LINES = ("inline", "crossline")


@pytest.fixture(scope="module")
def survey():
    return make_survey(SHAPE, seed=0)


@pytest.fixture(scope="module")
def pictures():
    """Tiles cut from the lines of several surveys, (sample, trace), with masks, by direction."""
    found = {direction: [] for direction in LINES}
    for seed in range(9):
        survey = SyntheticSurvey((70, 80, 100), seed=seed)
        for line in (25, 42):
            found["inline"].append([array[0].T for array in survey.slab(line, line + 1)])
    for seed in range(10, 15):
        drawn = make_survey((70, 32, 100), seed=seed)
        for line in (8, 16, 24):
            found["crossline"].append([array[:, line].T for array in drawn])
    return found


def autocorrelation_across(image, lag=4):
    centred = image - image.mean()
    return (centred[:, lag:] * centred[:, :-lag]).mean() / centred.var()


def vertical_centroid(image):
    power = (np.abs(np.fft.rfft(image - image.mean(axis=0), axis=0)) ** 2).sum(axis=1)
    return (power * np.fft.rfftfreq(image.shape[0])).sum() / power.sum()


def shrunk(mask, pixels):
    """Return the mask without what lies within `pixels` of its boundary."""
    for _ in range(pixels):
        padded = np.pad(mask, 1, mode="edge")
        mask = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask


def kurtosis(image):
    centred = image - image.mean()
    return (centred**4).mean() / centred.var() ** 2


# One survey


@pytest.mark.parametrize("step", [1, 7, 39])
def test_slabs_are_parts_of_the_survey_to_the_last_bit(survey, step):
    drawn = SyntheticSurvey(SHAPE, seed=0)
    for start in reversed(range(0, SHAPE[0], step)):
        stop = min(start + step, SHAPE[0])
        amplitudes, mask = drawn.slab(start, stop)
        assert amplitudes.tobytes() == survey[0][start:stop].tobytes()
        assert mask.tobytes() == survey[1][start:stop].tobytes()


def test_shapes_and_types(survey):
    amplitudes, mask = survey
    assert amplitudes.shape == mask.shape == SHAPE
    assert (amplitudes.dtype, mask.dtype) == (np.float32, np.bool_)
    assert np.isfinite(amplitudes).all()
    assert 0.6 < amplitudes[~mask].std() < 1.6


@pytest.mark.parametrize("shape", [(1, 1, 32), (1, 40, 64), (40, 1, 64), (2, 3, 33)])
def test_small_surveys(shape):
    amplitudes, mask = make_survey(shape, seed=2)
    assert amplitudes.shape == mask.shape == shape
    assert np.isfinite(amplitudes).all()


@pytest.mark.slow
def test_a_fresh_process_draws_the_same_survey():
    program = (
        "import hashlib; from saltzoo.data import make_survey; a, m = make_survey((3, 20, 40), seed=9); "
        "print(hashlib.sha256(a.tobytes() + m.tobytes()).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    amplitudes, mask = make_survey((3, 20, 40), seed=9)
    assert there.strip() == hashlib.sha256(amplitudes.tobytes() + mask.tobytes()).hexdigest()


def test_seeds_give_different_surveys(survey):
    amplitudes, mask = SyntheticSurvey(SHAPE, seed=1).slab(19, 21)
    assert abs(np.corrcoef(amplitudes.ravel(), survey[0][19:21].ravel())[0, 1]) < 0.5
    assert not np.array_equal(mask, survey[1][19:21])


def test_polarity_flips_every_amplitude_and_moves_no_salt(survey):
    amplitudes, mask = make_survey(SHAPE, seed=0, polarity=-1)
    np.testing.assert_array_equal(amplitudes, -survey[0])
    np.testing.assert_array_equal(mask, survey[1])


def test_the_band_moves_the_frequencies_and_no_salt(survey):
    centroids = []
    for peak in (0.012, 0.02, 0.04):
        amplitudes, mask = make_survey(SHAPE, seed=0, peak=peak)
        np.testing.assert_array_equal(mask, survey[1])
        centroids.append(np.mean([vertical_centroid(line.T) for line in amplitudes]))
    assert centroids[1] > 1.2 * centroids[0]
    assert centroids[2] > 1.4 * centroids[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (4, 4)}, r"shape must be \(inlines, crosslines, samples\).*got \(4, 4\)"),
        ({"shape": (0, 4, 40)}, r"got \(0, 4, 40\)"),
        ({"shape": (4, 4, 31)}, "at least 32 samples"),
        ({"seed": -1}, "seed must be 0 or more, got -1"),
        ({"polarity": 2}, "unknown polarity 2: choose one of 1, -1"),
        ({"peak": 0.2}, "peak must be from 0.005 to 0.1 cycles per sample, got 0.2"),
        ({"peak": float("nan")}, "peak must be from 0.005 to 0.1"),
    ],
)
def test_errors_name_the_given_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_survey(**arguments)


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2), (0, 41)])
def test_slabs_outside_the_survey_are_refused(start, stop):
    with pytest.raises(ValueError, match=f"in order in 0..40, got {start} and {stop}"):
        SyntheticSurvey(SHAPE).slab(start, stop)


# One body


def test_the_salt_is_one_body():
    ndimage = pytest.importorskip("scipy.ndimage")
    for seed in range(3):
        mask = make_survey((50, 60, 80), seed=seed)[1]
        labels, _ = ndimage.label(mask)
        assert np.bincount(labels.ravel())[1:].max() > 0.99 * mask.sum()
        assert 0.02 < mask.mean() < 0.4


def test_the_salt_overhangs():
    """Some surveys have traces with sediment between salt and salt, or sediment below a bulb."""
    overhung = []
    for seed in range(4):
        mask = SyntheticSurvey((70, 80, 100), seed=seed).slab(33, 37)[1]
        crossings = (np.diff(mask, axis=2) != 0).sum(axis=2)
        overhung.append((crossings >= 2).any())
    assert any(overhung)


def test_neighbouring_lines_are_alike(survey):
    """Lines of one survey go on from one to the next, as much across inlines as across crosslines."""
    amplitudes, mask = survey
    for axis in (0, 1):
        near, next_to = (np.take(amplitudes, range(start, start + 30), axis).ravel() for start in (4, 5))
        assert np.corrcoef(near, next_to)[0, 1] > 0.75
        moved = np.take(mask, range(4, 34), axis) ^ np.take(mask, range(5, 35), axis)
        assert moved.mean() < 0.1 * mask.mean() + 0.01


# Lines resemble tiles: comments give the values for 1200 real tiles


@pytest.mark.slow
@pytest.mark.parametrize("direction", LINES)
def test_autocorrelation_across(pictures, direction):
    assert 0.40 < np.mean([autocorrelation_across(image) for image, _ in pictures[direction]]) < 0.70  # real: .47


@pytest.mark.parametrize("direction", LINES)
def test_vertical_centroid(pictures, direction):
    assert 0.045 < np.median([vertical_centroid(image) for image, _ in pictures[direction]]) < 0.07  # real: .055


@pytest.mark.parametrize("direction", LINES)
def test_kurtosis(pictures, direction):
    assert 3.5 < np.median([kurtosis(image) for image, _ in pictures[direction]]) < 6.5  # real: 4.9


@pytest.mark.parametrize("direction", LINES)
def test_salt_is_quieter_than_sediment(pictures, direction):
    ratios = [
        image[salt].std() / image[shrunk(~mask, 4)].std()
        for image, mask in pictures[direction]
        if (salt := shrunk(mask, 4)).sum() > 100
    ]
    assert len(ratios) >= 8
    assert 0.45 < np.median(ratios) < 0.9  # real: .61


def test_the_test_of_likeness_can_fail():
    noise = np.random.default_rng(0).normal(size=(100, 80))
    assert not 0.40 < autocorrelation_across(noise) < 0.70
    assert not 0.045 < vertical_centroid(noise) < 0.07
    tiles = synthetic_tiles(40, seed=1).images.astype(float)
    assert 0.30 < np.mean([autocorrelation_across(tile) for tile in tiles]) < 0.70


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shift", [-4, 4])
def test_the_mask_lies_on_the_reflection(pictures, axis, shift):
    """A mask that is shifted by 4 pixels has less energy on its boundary."""
    aligned, moved = [], []
    inner = (slice(4, -4), slice(4, -4))
    for image, mask in (picture for direction in LINES for picture in pictures[direction]):
        edge = ~shrunk(mask, 1) & ~shrunk(~mask, 1)  # the pixels on both sides of the face
        edge_moved = np.roll(edge, shift, axis=axis)
        if edge[inner].sum() > 20:
            energy = (image / image.std()) ** 2
            aligned.append(energy[inner][edge[inner]].mean())
            moved.append(energy[inner][edge_moved[inner]].mean())
    assert len(aligned) > 15
    assert np.mean(moved) < 0.85 * np.mean(aligned)
