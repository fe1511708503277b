"""The page of a survey: what each panel shows, and what is refused."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saltzoo.data import make_survey
from saltzoo.draw import SALT
from saltzoo.seismic import qc, qc_page

REAL = Path(__file__).parents[3] / "shared" / "data" / "tgs"


@pytest.fixture(scope="module")
def survey():
    return make_survey((12, 16, 40), seed=1)


def panel(page, position):
    """Pixels of a panel by its place in two columns."""
    x = qc._GAP + position % 2 * (qc._WIDTH + qc._GAP)
    y = qc._CAPTION + qc._GAP + position // 2 * (qc._HEIGHT + qc._CAPTION + qc._GAP) + qc._CAPTION
    return page[y : y + qc._HEIGHT, x : x + qc._WIDTH].astype(int)


def salt_in(picture):
    return (picture[..., 0] - picture[..., 2] > 20).mean()


def test_panels_show_the_chosen_sections(survey):
    amplitudes, mask = survey
    at = (5, 7, 20)
    page = qc_page(amplitudes, mask, at=at, title="synthetic")
    assert page.dtype == np.uint8
    assert page.shape[2] == 3
    for row, axis in enumerate(range(3)):
        section = np.take(amplitudes, at[axis], axis)
        section = section if axis == 2 else section.T
        plain, marked = panel(page, 2 * row), panel(page, 2 * row + 1)
        small = np.asarray(Image.fromarray(plain[..., 0].astype(np.uint8)).resize(section.shape[::-1], Image.BOX))
        assert np.corrcoef(small.ravel(), section.ravel())[0, 1] > 0.9
        assert salt_in(plain) == 0
        assert abs(salt_in(marked) - np.take(mask, at[axis], axis).mean()) < 0.1


def test_the_middle_is_shown_by_default(survey):
    amplitudes, mask = survey
    np.testing.assert_array_equal(qc_page(amplitudes, mask), qc_page(amplitudes, mask, at=(6, 8, 20)))


def test_disagreement_has_a_panel_of_its_own(survey):
    amplitudes, mask = survey
    disagreement = np.zeros(mask.shape, np.float32)
    disagreement[6, :, 20:] = 1
    shown = panel(qc_page(amplitudes, mask, disagreement=disagreement), 7)
    assert shown[:150].max() == 0
    assert shown[170:].min() == 255
    assert panel(qc_page(amplitudes, mask), 7).min() == 255


def test_the_histogram_counts_live_samples_only(survey):
    amplitudes, _ = survey
    with_dead = amplitudes.copy()
    with_dead[:, 3], with_dead[:, 4] = 0, np.nan
    live = np.delete(amplitudes, [3, 4], axis=1)
    np.testing.assert_array_equal(qc._statistics(with_dead)[2], qc._statistics(live)[2])
    lines = np.unique(np.linspace(0, 11, 8).round().astype(int))
    values = live[lines].astype(float)
    expected = [
        ((values - values.mean() >= low * values.std()) & (values - values.mean() < high * values.std())).mean()
        for low, high in zip(qc.EDGES[:-1], qc.EDGES[1:], strict=True)
    ]
    np.testing.assert_allclose(qc._statistics(live)[2], expected, atol=1e-9)


def test_the_histogram_is_drawn_at_its_height():
    drawn = qc._plot(np.where(np.arange(32) == 20, 0.5, 0.0)).astype(int)
    orange = np.abs(drawn - SALT).sum(axis=2) < 10
    rows, columns = np.nonzero(orange)
    high = columns[rows < qc._HEIGHT // 2]
    width = (qc._WIDTH - 20) / 32
    assert 10 + 20 * width - 3 < high.min() < high.max() < 10 + 21 * width + 3


def test_a_survey_of_dead_traces_has_a_page():
    page = qc_page(np.full((3, 4, 8), np.nan), np.zeros((3, 4, 8), bool))
    assert salt_in(panel(page, 1)) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probabilities": np.zeros((2, 3, 5))}, r"probabilities must have the shape.*\(2, 3, 5\) and \(2, 3, 4\)"),
        ({"disagreement": np.zeros((2, 3, 5))}, "disagreement must have the shape"),
        ({"at": (0, 3, 0)}, r"at must be indices.*within \(2, 3, 4\), got \(0, 3, 0\)"),
        ({"probabilities": np.full((2, 3, 4), -3.0)}, "probabilities must be in 0..1, got -3 to -3"),
    ],
)
def test_wrong_input_is_named(options, message):
    given = {"amplitudes": np.ones((2, 3, 4)), "probabilities": np.zeros((2, 3, 4)), **options}
    with pytest.raises(ValueError, match=message):
        qc_page(**given)


@pytest.mark.skipif(not (REAL / "train.zip").exists(), reason="without the challenge's data")
def test_the_histogram_of_tiles_is_that_of_the_challenge():
    total, pixels = np.zeros(32), 0
    with zipfile.ZipFile(REAL / "train.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".png") and "mask" not in name]
        for name in names[::8]:
            tile = np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("L")).astype(float)
            if tile.std():
                total += np.histogram((tile - tile.mean()) / tile.std(), qc.EDGES)[0]
                pixels += tile.size
    np.testing.assert_allclose(total / pixels, qc.TILE_HISTOGRAM, atol=0.004)
