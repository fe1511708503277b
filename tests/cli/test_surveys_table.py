"""Each row of the table of refusals in docs/howto/surveys.md: an input, and what `saltzoo predict` does with it."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from _segy_files import amplitudes, grid_words, keep, write_segy
from torch import nn

from saltzoo import Preprocess
from saltzoo.cli import loading, main
from saltzoo.seismic import open_survey, write_like

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "surveys.md"
WORDS = grid_words(range(1, 9), range(1, 11))
VALUES = amplitudes(80, 40, largest=100)
FINE = amplitudes(80, 40, largest=10_000) * np.random.default_rng(0).lognormal(size=(80, 1)) * 0.01
ZERO = np.zeros(80, int)
NONE = dict.fromkeys((181, 185, 189, 193, 197, *range(201, 238, 4)), ZERO)
READ, REFUSED = 0, 2
"""Exit statuses."""


def cut():
    write_segy("a.sgy", VALUES, WORDS)
    Path("a.sgy").write_bytes(Path("a.sgy").read_bytes()[:-1])


def swapped():
    write_segy("a.sgy", FINE, WORDS)
    raw = np.fromfile("a.sgy", np.dtype([("header", "V240"), ("samples", ">u4", 40)]), offset=3600)
    raw["samples"] = raw["samples"].byteswap()
    Path("a.sgy").write_bytes(Path("a.sgy").read_bytes()[:3600] + raw.tobytes())


def prestack():
    words = {place: np.repeat(numbers, 4) for place, numbers in WORDS.items()}
    write_segy("a.sgy", np.repeat(VALUES, 4, 0), {**words, 37: np.tile([100, 200, 300, 400], 80)})


def of_zarr():
    write_segy("b.sgy", VALUES, WORDS)
    write_like(open_survey("b.sgy"), "a.zarr", open_survey("b.sgy"), name="amplitude")
    Path("b.sgy").unlink()


def line(numbers=WORDS[189] * 10 + WORDS[193]):
    write_segy("a.sgy", VALUES, {**NONE, 21: numbers})


def gaps():
    words, values = keep({**WORDS, 29: np.where(np.arange(80) == 7, 2, 1)}, VALUES, np.delete(np.arange(80), [3, 44]))
    write_segy("a.sgy", values, words)


def survey(**options):
    return lambda: write_segy("a.sgy", VALUES, WORDS, **options)


def no_grid():
    write_segy("a.sgy", VALUES, {**NONE, 73: WORDS[189], 77: WORDS[193]})


def sparse():
    write_segy("a.sgy", VALUES, {189: np.arange(80), 193: np.arange(80)[::-1]})


ROWS = [
    # input, how it is written, words of the command, status, words of the error
    ("an empty file", lambda: Path("a.sgy").touch(), "a.sgy --out o.sgy", REFUSED, "is empty: copy the file again"),
    ("a file that ends within a trace", cut, "a.sgy --out o.sgy", REFUSED, "after 79 traces"),
    ("no SEG-Y file", lambda: Path("a.sgy").write_bytes(bytes(9999)), "a.sgy --out o.sgy", REFUSED, "format code"),
    (
        "IBM samples declared as IEEE, or the reverse",
        lambda: write_segy("a.sgy", FINE, WORDS, code=1, binary=[(3225, 5, "i2")]),
        "a.sgy --out o.sgy",
        REFUSED,
        "--sample-format 1",
    ),
    ("samples in the other byte order", swapped, "a.sgy --out o.sgy", REFUSED, "--byte-order little"),
    ("prestack traces", prestack, "a.sgy --out o.sgy", REFUSED, "stack it, or write the traces of one offset"),
    ("no header words that number lines", no_grid, "a.sgy --out o.sgy", REFUSED, "byte 73 (source x) 1 to 8"),
    ("--iline without --xline", survey(), "a.sgy --out o.sgy --iline 189", REFUSED, "must be given together"),
    (
        "words that make more than 10 cells a trace",
        sparse,
        "a.sgy --out o.sgy --iline 189 --xline 193",
        REFUSED,
        "got 6400 cells for 80 traces",
    ),
    ("a folder without zarr", lambda: Path("a.zarr").mkdir(), "a.zarr --out o.zarr", REFUSED, "without zarr.json"),
    ("an output that is the survey", survey(), "a.sgy --out a.sgy --overwrite", REFUSED, "must differ"),
    (
        "an output that is there",
        lambda: (survey()(), Path("o.sgy").write_text("mine")),
        "a.sgy --out o.sgy",
        REFUSED,
        "o.sgy is there already",
    ),
    ("SEG-Y output for a survey in zarr", of_zarr, "a.zarr --out o.sgy", REFUSED, "must end with .zarr"),
    ("lines that the survey has not", survey(), "a.sgy --out o.sgy --lines 9:12", REFUSED, "the inlines 1 to 8"),
    (
        "--direction crossline for a 2-D line",
        line,
        "a.sgy --out o.sgy --direction crossline",
        REFUSED,
        "single traces",
    ),
    ("missing and dead traces", gaps, "a.sgy --out o.sgy", READ, ""),
    ("integers, and both byte orders", survey(code=3, little=True), "a.sgy --out o.sgy", READ, ""),
    ("integers, and both byte orders", survey(code=2), "a.sgy --out o.sgy", READ, ""),
    ("a 2-D line", line, "a.sgy --out o.sgy", READ, ""),
]


class Network(nn.Conv2d):
    """The probability of salt is 3/4 everywhere."""

    preprocess = Preprocess.gray()
    threshold = 0.5

    def __init__(self):
        super().__init__(1, 1, 1)
        self.weight.data[:], self.bias.data[:] = 0, np.log(3)


@pytest.fixture(autouse=True)
def network(monkeypatch, tmp_path):
    """Use the network, in an empty working folder."""
    monkeypatch.setattr(loading, "load_model", lambda name, device=None, fast=False: Network().eval())
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("what", "write", "command", "status", "message"), ROWS)
def test_a_row(capsys, what, write, command, status, message):
    write()
    before = sorted(os.listdir())
    given = command.split()
    found = main(["predict", *given, "--model", "none.here", "--device", "cpu"])
    err = " ".join(capsys.readouterr().err.split())
    assert found == status, err
    assert message in err
    if status != READ:
        assert sorted(os.listdir()) == before
        assert "Traceback" not in err
        return
    source, salt = open_survey(given[0]), open_survey(given[2])
    np.testing.assert_array_equal(salt.live, source.live)
    expected = np.where(source.live[..., None], 0.75 + 0 * source[:], np.nan)
    np.testing.assert_allclose(salt[:], expected, atol=1e-6)
    assert [salt.source.layout.order, salt.source.layout.format] == [source.source.layout.order, 5]


def test_every_row_of_the_page_is_tested():
    section = PAGE.read_text(encoding="utf-8").partition("## What is refused")[2].partition("\n## ")[0]
    said = dict(re.findall(r"^\| (.*?) \| (.*) \|$", section, re.MULTILINE)[2:])
    assert {row[0] for row in ROWS} == set(said)
    for what, _, _, status, _ in ROWS:
        assert said[what].startswith("refused") == (status == REFUSED), what
