"""Changes that make a tile look like one of another survey: closed forms, spectra, masks and randomness."""

import dataclasses
import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from saltzoo.data import SurveyAugment, synthetic_tiles
from saltzoo.data.depth_waves import band_gain, from_waves, to_waves
from saltzoo.data.rescale import interpolation_matrix, nearest_pixel, source_positions

PROBABILITIES = ("rescale", "band", "phase", "noise", "gain", "polarity", "stretch")
NOTHING = dict.fromkeys(PROBABILITIES, 0.0)
ALWAYS = dict.fromkeys(PROBABILITIES, 1.0)
TILES = synthetic_tiles(12, seed=2)
IMAGES = torch.from_numpy(TILES.images)[:, None].float() / 255
MASKS = torch.from_numpy(TILES.masks)


def only(**options):
    return SurveyAugment(**{**NOTHING, **options})


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def wave(number, *, size=101, phase=0.0, contrast=0.2):
    """A cosine along depth whose mirror images continue it, N C H W."""
    depth = torch.arange(size, dtype=torch.float64) + 0.5
    trace = 0.5 + contrast * torch.cos(math.pi * number * depth / size + phase)
    return trace[None, None, :, None].expand(3, 1, size, 20).float()


def masks_of(images):
    return torch.zeros(len(images), *images.shape[-2:], dtype=torch.bool)


# All together


def test_nothing_changes_without_probabilities():
    images, masks = only()(IMAGES, MASKS, generator=seeded())
    assert torch.equal(images, IMAGES)
    assert torch.equal(masks, MASKS)


@pytest.mark.parametrize("name", PROBABILITIES)
def test_tiles_for_which_nothing_is_drawn_are_kept_bit_for_bit(name):
    images = IMAGES.repeat(20, 1, 1, 1)
    masks = MASKS.repeat(20, 1, 1)
    out, _ = only(**{name: 0.25})(images, masks, generator=seeded(1))
    changed = (out != images).flatten(1).any(1)
    assert 0.15 < changed.float().mean() < 0.35  # 240 tiles: within 3.5 deviations of a quarter


def test_the_generator_alone_decides():
    augment = SurveyAugment(**ALWAYS)
    first, again, other = (augment(IMAGES, MASKS, generator=seeded(n)) for n in (4, 4, 5))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    torch.manual_seed(0)
    before = torch.get_rng_state()
    augment(IMAGES, MASKS, generator=seeded())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [None, 1, 2])
def test_shapes_dtypes_and_range_are_kept(dtype, channels):
    images = IMAGES[:, 0] if channels is None else IMAGES.repeat(1, channels, 1, 1)
    out, masks = SurveyAugment(**ALWAYS)(images.to(dtype), MASKS, generator=seeded())
    assert (out.shape, out.dtype, masks.shape, masks.dtype) == (images.shape, dtype, MASKS.shape, torch.bool)
    assert out.isfinite().all()
    assert 0 <= out.min() < out.max() <= 1


def test_autocast_does_not_round():
    augment = SurveyAugment(**ALWAYS)
    plain, _ = augment(IMAGES, MASKS, generator=seeded(3))
    with torch.autocast("cpu", torch.bfloat16):
        cast, _ = augment(IMAGES, MASKS, generator=seeded(3))
    assert torch.equal(plain, cast)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 9), st.integers(1, 9), st.integers(1, 3))
def test_tiles_of_any_size_stay_in_range(seed, height, width, count):
    images = torch.rand(count, 1, height, width, generator=seeded(seed))
    out, masks = SurveyAugment(**ALWAYS)(images, images[:, 0] > 0.5, generator=seeded(seed))
    assert out.shape == images.shape
    assert masks.shape == (count, height, width)
    assert out.isfinite().all()
    assert ((out >= 0) & (out <= 1)).all()


def test_flat_tiles_stay_flat():
    for value in (0.0, 0.3, 1.0):
        images = torch.full((8, 1, 30, 30), value)
        out, _ = SurveyAugment(**{**ALWAYS, "polarity": 0})(images, masks_of(images), generator=seeded())
        torch.testing.assert_close(out, images, rtol=0, atol=1e-5)


# Scale


@pytest.mark.parametrize(("scale", "size"), [(2.0, 50), (1.6, 50), (1.0, 41), (0.625, 80), (0.5, 64)])
def test_rescaling_is_torchs_interpolation_with_antialias(scale, size):
    image = torch.rand(2, 3, size, size, generator=seeded(), dtype=torch.float64)
    one = torch.tensor([scale, scale], dtype=torch.float64)
    weights = interpolation_matrix(source_positions(size, one, torch.zeros(2, dtype=torch.float64)), one)
    got = weights[:, None] @ image @ weights[:, None].mT
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, size, dtype=torch.float64))
    want = F.interpolate(image, scale_factor=scale, mode="bilinear", antialias=True)
    # Both are centred; torch leaves out what is beyond the border, where we mirror.
    large, small = (got, want) if scale < 1 else (want, got)
    first = (large.shape[-1] - small.shape[-1]) // 2
    part = large[..., first : first + small.shape[-1], first : first + small.shape[-1]]
    inner = (..., slice(3, -3), slice(3, -3))
    torch.testing.assert_close(part[inner], small[inner])


@pytest.mark.parametrize("place", [-1.0, 0.3, 1.0])
@pytest.mark.parametrize("scale", [0.5, 0.8, 1.7])
def test_beyond_the_border_is_the_mirror_image(scale, place):
    """A side that goes on as its mirror image, and that as the mirror image of the mirror image, gives the same."""
    size, scales = 30, torch.tensor([scale])
    side = torch.rand(size, generator=seeded())
    long = torch.cat([side, side.flip(0), side, side.flip(0), side])
    position = source_positions(size, scales, torch.tensor([place]))
    got = interpolation_matrix(position, scales)[0] @ side
    width = max(1, 1 / scale)
    for pixel, centre in enumerate(position[0].tolist()):
        weights = np.clip(1 - np.abs(np.arange(-2 * size, 3 * size) - centre) / width, 0, None)
        assert float(got[pixel]) == pytest.approx(float(weights @ long.numpy() / weights.sum()), abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.floats(0.5, 3), st.floats(-1, 1))
def test_a_magnified_tile_shows_a_part_and_a_reduced_one_all(size, scale, place):
    position = source_positions(size, torch.tensor([scale]), torch.tensor([place]))[0]
    edges = position[0] - 0.5 / scale, position[-1] + 0.5 / scale
    if scale >= 1:
        assert edges[0] >= -0.5 - 1e-3
        assert edges[1] <= size - 0.5 + 1e-3
    else:
        assert edges[0] <= -0.5 + 1e-3
        assert edges[1] >= size - 0.5 - 1e-3
    assert (edges[1] - edges[0]).item() == pytest.approx(size / scale, rel=1e-3)
    pixels = nearest_pixel(position[None])
    assert 0 <= pixels.min() <= pixels.max() < size


def test_masks_follow_the_scale():
    """An image that is its mask stays it."""
    augment = only(rescale=1)
    images, masks = augment(MASKS[:, None].float(), MASKS, generator=seeded(8))
    assert torch.equal(images[:, 0] > 0.5, masks)
    assert not torch.equal(masks, MASKS)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
def test_labels_keep_their_values_and_follow_too(dtype):
    labels = MASKS.to(dtype) * 3
    labels[:, :20] = 255
    _, got = only(rescale=1)(IMAGES, labels, generator=seeded(8))
    assert set(got.unique().tolist()) == {0, 3, 255}
    _, salt = only(rescale=1)(IMAGES, MASKS, generator=seeded(8))
    known = got != 255
    assert ((got == 3) == salt)[known].float().mean() > 0.97  # they differ along boundaries alone


@pytest.mark.parametrize("name", [name for name in PROBABILITIES if name != "rescale"])
def test_masks_follow_nothing_else(name):
    _, masks = only(**{name: 1.0})(IMAGES, MASKS, generator=seeded())
    assert torch.equal(masks, MASKS)


# Waves along depth


@pytest.mark.parametrize("turn", [0.0, 30.0, 90.0, -90.0, 180.0])
def test_a_phase_advances_a_wave(turn):
    angle = torch.full((3,), math.radians(turn))
    for number in (1, 10, 47, 100):
        got = from_waves(to_waves(wave(number) - 0.5), angle)
        torch.testing.assert_close(
            got, wave(number, phase=math.radians(turn)) - 0.5, rtol=0, atol=1e-4, msg=f"wave {number}"
        )


def test_a_quarter_turn_is_the_hilbert_transform():
    """Away from its ends, a trace that fades there is turned by the Fourier transform as by the cosine transform."""
    depth = torch.arange(128, dtype=torch.float64)
    trace = torch.exp(-(((depth - 64) / 9) ** 2)) * torch.cos(0.7 * (depth - 60))
    spectrum = torch.fft.fft(trace)
    spectrum[1:64] *= 2
    spectrum[65:] = 0
    hilbert = torch.fft.ifft(spectrum).imag
    got = from_waves(to_waves(trace[None, None, :, None]), torch.tensor([math.pi / 2]).double())
    torch.testing.assert_close(got[0, 0, :, 0], -hilbert, rtol=0, atol=2e-3)


def test_the_largest_turn_is_reached_and_not_exceeded():
    images = wave(20).repeat(100, 1, 1, 1)
    out, _ = only(phase=1, turn=60)(images, masks_of(images), generator=seeded())
    a, b = (((out - 0.5) * (wave(20, phase=p)[:1] - 0.5)).sum((1, 2, 3)) for p in (0.0, math.pi / 2))
    turns = torch.rad2deg(torch.atan2(b, a))
    assert -60.5 < turns.min() < -55
    assert 55 < turns.max() < 60.5
    assert abs(turns.mean()) < 8


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.1), (0.05, 0.2), (0.1, 0.5)])
def test_energy_outside_the_band_falls(low, high):
    noise = 0.5 + 0.1 * torch.randn(64, 1, 101, 40, generator=seeded())
    noise = noise.clamp(0, 1)
    out, _ = only(band=1, low_cut=(low, low), high_cut=(high, high))(noise, masks_of(noise), generator=seeded())

    def power(x):
        window = torch.hann_window(101, periodic=False)[:, None]
        return (torch.fft.rfft((x - x.mean((1, 2, 3), keepdim=True)) * window, dim=-2).abs() ** 2).mean((0, 1, 3))

    frequency, ratio = torch.fft.rfftfreq(101), power(out) / power(noise)
    inside = ratio[(frequency > 1.3 * low + 0.02) & (frequency < 0.8 * high)].mean()
    if high < 0.3:
        assert ratio[frequency > 1.6 * high + 0.01].max() < 0.1 * inside
    if low > 0:
        assert ratio[frequency < 0.5 * low].max() < 0.1 * inside
    torch.testing.assert_close(out.std((1, 2, 3)), noise.std((1, 2, 3)), rtol=0.02, atol=0)


def test_the_gain_is_butterworths():
    gain = band_gain(100, torch.tensor([0.1, 0.0]), torch.tensor([0.25, 0.5]))
    frequency = np.arange(100) / 200
    with np.errstate(divide="ignore"):
        want = 1 / np.sqrt((1 + (frequency / 0.25) ** 8) * (1 + (0.1 / frequency) ** 8))
    np.testing.assert_allclose(gain[0].numpy(), want, atol=1e-4)
    assert gain[0, 50].item() == pytest.approx(math.sqrt(0.5), abs=0.01)  # 3 dB at the cut
    assert gain[1, 0] == 1  # without a low cut the mean of a trace is kept


# Noise, gain, polarity, contrast


def test_noise_has_its_deviation_and_its_band():
    images = wave(15).repeat(20, 1, 1, 1)
    augment = only(noise=1, noise_level=(0.5, 0.5), low_cut=(0.0, 0.0), high_cut=(0.1, 0.1))
    out, _ = augment(images, masks_of(images), generator=seeded())
    added = out - images
    ratio = added.std((1, 2, 3)) / images.std((1, 2, 3))
    assert ratio.mean().item() == pytest.approx(0.5, rel=0.03)
    power = (torch.fft.rfft(added, dim=-2).abs() ** 2).mean((0, 1, 3))
    frequency = torch.fft.rfftfreq(101)
    assert power[frequency > 0.2].mean() < 0.02 * power[(frequency > 0) & (frequency < 0.08)].mean()
    a, b = added[0].flatten(), added[1].flatten()
    assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 0.2  # each tile has its own


def test_the_drift_of_the_gain_is_exponential_in_depth():
    images = 0.5 + 0.02 * torch.tensor([1.0, -1.0]).repeat(101, 10)[None, None].repeat(200, 1, 1, 1)
    out, _ = only(gain=1, level=(0.5, 4.0), drift=3)(images, masks_of(images), generator=seeded())
    gain = ((out - 0.5) / (images - 0.5))[:, 0]
    assert torch.allclose(gain, gain[:, :, :1], rtol=1e-3)  # one for each depth
    logs = gain[:, :, 0].log()
    torch.testing.assert_close(logs.diff(dim=1), logs.diff(dim=1)[:, :1].expand(-1, 100), rtol=0, atol=1e-4)
    whole = logs[:, -1] - logs[:, 0]
    assert -math.log(3) - 1e-3 < whole.min() < -0.9
    assert 0.9 < whole.max() < math.log(3) + 1e-3
    middle = logs[:, 50].exp()
    assert 0.499 < middle.min() < 0.6
    assert 3.5 < middle.max() < 4.001


def test_polarity_twice_is_identity():
    augment = only(polarity=1)
    once, masks = augment(IMAGES, MASKS, generator=seeded())
    twice, _ = augment(once, masks, generator=seeded(1))
    torch.testing.assert_close(once, 1 - IMAGES, rtol=0, atol=0)
    torch.testing.assert_close(twice, IMAGES, rtol=0, atol=1e-7)


def test_a_stretch_puts_the_mean_at_gray_and_the_amplitude_at_white():
    out, _ = only(stretch=1, white=(4, 4))(IMAGES, MASKS, generator=seeded())
    mean, std = IMAGES.mean((1, 2, 3), keepdim=True), IMAGES.std((1, 2, 3), keepdim=True, correction=0)
    torch.testing.assert_close(out, ((IMAGES - mean) / (8 * std) + 0.5).clamp(0, 1))


# Errors


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"polarity": 1.5}, ValueError, "polarity must be at least 0 and at most 1, got 1.5"),
        ({"x_scale": (0.4, 1)}, ValueError, "x_scale must be at least 0.5, got 0.4"),
        ({"y_scale": (2.0, 1.0)}, ValueError, "y_scale must be a range (low, high) with low <= high"),
        ({"y_scale": 2.0}, TypeError, "y_scale must be"),
        ({"turn": math.inf}, ValueError, "turn must be a finite number"),
        ({"drift": 0.5}, ValueError, "drift must be at least 1, got 0.5"),
        ({"low_cut": (0.0, 0.2), "high_cut": (0.1, 0.3)}, ValueError, "low_cut must end below high_cut"),
        ({"high_cut": (0.1, 0.6)}, ValueError, "which ends at 0.5 or below"),
        ({"level": (0.0, 1.0)}, ValueError, "level must be above 0, got 0.0"),
        ({"white": (1.0, math.inf)}, ValueError, "white must be a range"),
    ],
)
def test_wrong_options_raise(options, error, words):
    with pytest.raises(error, match=re.escape(words)):
        SurveyAugment(**options)


def test_wrong_batches_raise():
    augment = SurveyAugment()
    with pytest.raises(ValueError, match=r"images must be in 0..1, got 0 to 255"):
        augment(IMAGES * 255, MASKS)
    with pytest.raises(ValueError, match=r"images must be in 0..1, got nan"):
        augment(IMAGES * math.nan, MASKS)
    with pytest.raises(ValueError, match="floating point"):
        augment(torch.from_numpy(TILES.images), MASKS)
    with pytest.raises(ValueError, match="masks must be N H W like the images"):
        augment(IMAGES, MASKS[:, :50])


def test_options_are_a_frozen_value():
    assert SurveyAugment(band=0.5) == SurveyAugment(band=0.5) != SurveyAugment()
    with pytest.raises(dataclasses.FrozenInstanceError):
        SurveyAugment().band = 1.0
