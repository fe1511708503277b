"""The code in the README runs, and its links and commands are valid."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_python_blocks_run(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    if "probabilities" in names:
        assert names["probabilities"].shape == (8, 101, 101)
        assert 0 <= names["score"] <= 1
        assert names["plain"].config == replace(names["composed"].config, mask_only=True)
    else:
        assert names["value"].isfinite()


def test_ci_runs_exactly_two_commands():
    commands = re.findall(r"^python3 -m venv .*$", README, flags=re.MULTILINE)
    first, second = commands
    assert first.endswith("python examples/quickstart.py")
    assert second.endswith("python -m pytest -n auto")
    assert "grep '^python3 -m venv ' README.md" in (ROOT / ".ci" / "run").read_text()


def test_relative_links_exist():
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", README)
    assert links
    assert all((ROOT / link).exists() for link in links)
