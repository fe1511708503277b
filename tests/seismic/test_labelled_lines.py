"""Masks named by line and picked horizons: what is read, and what is refused."""

import re

import numpy as np
import pytest
from _segy_files import grid_words, write_segy

from saltzoo.data import make_survey
from saltzoo.seismic import (
    LabelledLine,
    open_survey,
    read_labelled_lines,
    salt_horizons,
    write_horizon_csv,
    write_mask,
)
from saltzoo.seismic.labelled_lines import choose_line

INLINES, CROSSLINES, SAMPLES = range(100, 124, 2), range(20, 38), 48
SHAPE = (len(INLINES), len(CROSSLINES), SAMPLES)
AMPLITUDES, SALT = make_survey(SHAPE, seed=4)
Z = np.zeros(SHAPE[:2])


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    path = tmp_path_factory.mktemp("survey") / "cube.sgy"
    write_segy(path, AMPLITUDES.reshape(-1, SAMPLES), grid_words(INLINES, CROSSLINES))
    return open_survey(path)


def one_interval(mask):
    """The mask with all samples between the first and the last of each trace."""
    return np.maximum.accumulate(mask, -1) & np.maximum.accumulate(mask[..., ::-1], -1)[..., ::-1]


def write_horizons(folder, survey, mask, names=("top", "base")):
    found = salt_horizons(mask)
    step = survey.samples[1] - survey.samples[0]
    for name in names:
        write_horizon_csv(
            folder / f"{name}.csv",
            getattr(found, name),
            inlines=survey.inlines,
            crosslines=survey.crosslines,
            x=Z,
            y=Z,
            start=survey.samples[0],
            interval=step,
        )


def test_masks_are_read_by_the_names_of_their_lines(survey, tmp_path):
    names = {
        "inline_0104.png": ("inline", 104),
        "Crossline 25_mask.png": ("crossline", 25),
        "inline_118.png": ("inline", 118),
    }
    expected = {}
    for name, (direction, number) in names.items():
        mask = SALT[list(INLINES).index(number)].T if direction == "inline" else SALT[:, number - 20].T
        write_mask(tmp_path / name, mask)
        expected[f"{direction} {number}"] = mask
    (tmp_path / "notes.txt").write_text("not a mask")
    (tmp_path / ".inline_106.png").write_text("hidden")
    found = read_labelled_lines(survey, tmp_path)
    assert [line.name for line in found] == ["inline 104", "inline 118", "crossline 25"]
    for line in found:
        np.testing.assert_array_equal(line.mask, expected[line.name])


@pytest.mark.parametrize("along", ["inline", "crossline"])
def test_horizons_that_were_written_give_their_mask_back(survey, tmp_path, along):
    mask, chosen = one_interval(SALT), np.zeros(SHAPE, bool)
    lines = [3, 5, 8]
    part = (lines,) if along == "inline" else (slice(None), lines)
    mask[3, 8:10] = False
    mask[3, 8, :9], mask[3, 9, 40:] = True, True  # salt begins above the first sample, or goes on below the last
    chosen[part] = mask[part]
    write_horizons(tmp_path, survey, chosen)
    found = read_labelled_lines(survey, tmp_path)
    numbers = survey.inlines if along == "inline" else survey.crosslines
    assert [line.name for line in found] == [f"{along} {numbers[k]}" for k in lines]
    for k, line in zip(lines, found, strict=True):
        np.testing.assert_array_equal(line.mask, (mask[k] if along == "inline" else mask[:, k]).T)
    assert sum(int(line.mask.sum()) for line in found) > 500


@pytest.mark.parametrize("name", ["top", "base"])
def test_salt_of_one_horizon_goes_to_the_end_of_the_trace(survey, tmp_path, name):
    (tmp_path / f"{name}.csv").write_text(
        f"xl,il,z,note\n21,102,{survey.samples[10]},a\n22,102,{survey.samples[11] + 1},b\n"
    )
    (line,) = read_labelled_lines(survey, tmp_path)
    expected = np.zeros((SAMPLES, SHAPE[1]), bool)
    if name == "top":
        expected[11:, 1], expected[12:, 2] = True, True
    else:
        expected[:10, 1], expected[:12, 2] = True, True
    assert line.name == "inline 102"
    np.testing.assert_array_equal(line.mask, expected)


ROW = "il,xl,z\n102,21,40\n"
REFUSED = {
    "a wrong size": ({"inline_102.png": (48, 17)}, "48 x 18 (height x width), got 48 x 17"),
    "a transposed mask": ({"crossline_21.png": (12, 48)}, "48 x 12 (height x width), got 12 x 48"),
    "no such line": ({"inline_103.png": (48, 18)}, "inline must be one of 100 to 122, step 2, got 103"),
    "no line": ({"salt.png": (48, 18)}, "masks must be named by their line"),
    "a line twice": ({"inline_102.png": (48, 18), "inline_0102.png": (48, 18)}, "inline 102 must be labelled once"),
    "nothing": ({"a.txt": "x"}, "must hold masks named by line, got none"),
    "a mask and horizons": ({"inline_102.png": (48, 18), "top.csv": ROW}, "got inline_102.png and top.csv"),
    "no column": ({"top.csv": "il,z\n102,40\n"}, "a header with il, xl and z, got no xl"),
    "no picks": ({"top.csv": "il,xl,z\n"}, "must hold picks, got none"),
    "no number": ({"top.csv": "il,xl,z\n102,21,deep\n"}, "line 2 must be numbers of a trace and its z"),
    "a short row": ({"top.csv": "il,xl,z\n102,21\n"}, "line 2 must be numbers of a trace and its z"),
    "no such trace": ({"top.csv": "il,xl,z\n102,21,40\n102,90,40\n"}, "line 3 must be numbers of a trace"),
    "beyond the samples": ({"top.csv": "il,xl,z\n102,21,4000\n"}, "z must be in 0 to 188"),
    "a trace twice": ({"base.csv": ROW + "102,21,44\n"}, "one pick, got inline 102, crossline 21 twice"),
    "base above top": ({"base.csv": ROW, "top.csv": "il,xl,z\n102,21,44\n"}, "base must be below top"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(survey, tmp_path, case):
    files, message = REFUSED[case]
    for name, content in files.items():
        if isinstance(content, str):
            (tmp_path / name).write_text(content)
        else:
            write_mask(tmp_path / name, np.zeros(content, bool))
    with pytest.raises(ValueError, match=re.escape(message)):
        read_labelled_lines(survey, tmp_path)


def test_lines_must_be_a_folder(survey, tmp_path):
    with pytest.raises(NotADirectoryError, match="lines must be a folder of masks"):
        read_labelled_lines(survey, tmp_path / "none")


def test_a_line_is_chosen_by_its_name():
    blank = np.zeros((2, 2), bool)
    lines = [LabelledLine("inline", 7, blank), LabelledLine("inline", 9, blank), LabelledLine("crossline", 7, blank)]
    for name, expected in {None: 2, "inline_0007": 0, "crossline 7.png": 2, "9": 1, "INLINE 9": 1}.items():
        assert choose_line(lines, name) is lines[expected]
    for wrong in ("7", "8", "inline 8", "line 9", ""):
        with pytest.raises(
            ValueError, match=r"held must be one of the labelled lines, inline 7, inline 9, crossline 7"
        ):
            choose_line(lines, wrong)
