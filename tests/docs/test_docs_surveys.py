"""The page of surveys is up to date, its code runs, its commands exist, and its picture is small."""

import importlib.util
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from saltzoo.cli.main import saltzoo
from saltzoo.data import SyntheticSurvey
from saltzoo.seismic import salt_horizons

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "howto" / "surveys.md").read_text(encoding="utf-8")


def test_the_page_is_up_to_date(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    spec = importlib.util.spec_from_file_location("make_surveys", DOCS / "make_surveys.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.page() == PAGE


def test_python_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(block, "surveys.md", "exec"), names)
    amplitudes, mask = SyntheticSurvey((8, 40, 64), seed=1).slab(0, 8)
    np.testing.assert_array_equal(names["section"], amplitudes[3].T)
    np.testing.assert_allclose(names["top"], 4 * salt_horizons(mask).top)


def test_options_of_the_commands_exist():
    lines = [line for line in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)[0].splitlines() if "saltzoo " in line]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("saltzoo ")]
    assert [words[1] for words in commands] == ["synthetic", "info", "predict", "report"]
    for _, name, *words in commands:
        known = {option for parameter in saltzoo.commands[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("picture", re.findall(r"\(\.\./(pictures/[\w.]+)\)", PAGE))
def test_pictures_are_small(picture):
    assert (DOCS / picture).stat().st_size < 200_000
