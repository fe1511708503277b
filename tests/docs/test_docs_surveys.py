"""The page of surveys is up to date, its code runs, its commands exist, and its picture is small."""

import importlib.util
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from saltzoo.cli.main import saltzoo
from saltzoo.data import SyntheticSurvey
from saltzoo.seismic import open_survey, read_labelled_lines, salt_horizons
from saltzoo.seismic.segy import SegySource

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "howto" / "surveys.md").read_text(encoding="utf-8")


@pytest.fixture
def page(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    spec = importlib.util.spec_from_file_location("make_surveys", DOCS / "make_surveys.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(page):
    assert page.page() == PAGE


def test_python_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    reading, labelling = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(reading, "surveys.md", "exec"), names)
    amplitudes, mask = SyntheticSurvey((8, 40, 64), seed=1).slab(0, 8)
    np.testing.assert_array_equal(names["section"], amplitudes[3].T)
    np.testing.assert_allclose(names["top"], 4 * salt_horizons(mask).top)

    SyntheticSurvey((96, 16, 32), seed=1).write("cube.sgy", mask="truth.sgy", overwrite=True)
    exec(compile(labelling, "surveys.md", "exec"), names)
    lines = read_labelled_lines(open_survey("cube.sgy"), "picked")
    assert [line.name for line in lines] == [f"inline {number}" for number in (1010, 1035, 1060, 1085)]
    for line in lines:
        np.testing.assert_array_equal(line.mask, open_survey("truth.sgy").line("inline", line.number) > 0.5)


def commands():
    """Words of each command of the page, those behind xargs too."""
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL):
        for line in re.findall(r"\b(?<!-)saltzoo [a-z].*", block):
            yield shlex.split(line, comments=True)[1:]


def test_the_commands_are_valid():
    names = [name for name, *_ in commands()]
    assert names == ["synthetic", "info", "predict", "report", *["predict"] * 5, "adapt", "predict"]
    for name, *words in commands():
        saltzoo.commands[name].make_context(name, words)  # parses the words as the shell hands them over


def test_the_slabs_of_f3_are_those_of_a_run(page):
    source = SegySource(
        SimpleNamespace(samples=page.F3[2]), SimpleNamespace(crosslines=range(page.F3[1])), np.zeros(0, np.bool_)
    )
    assert source.slab_size() == page.SLAB


@pytest.mark.parametrize("picture", re.findall(r"\(\.\./(pictures/[\w.]+)\)", PAGE))
def test_pictures_are_small(picture):
    assert (DOCS / picture).stat().st_size < 200_000
