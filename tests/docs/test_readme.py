"""What the README tells people to run, runs."""

import re
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
        assert names["plain"].config.model_args == {**names["composed"].config.model_args, "mask_only": True}
    else:
        assert names["value"].isfinite()


def test_there_are_two_commands_which_ci_runs():
    commands = re.findall(r"^python3 -m venv .*$", README, flags=re.MULTILINE)
    assert len(commands) == 2
    assert "grep '^python3 -m venv ' README.md" in (ROOT / ".ci" / "run").read_text()


def test_relative_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", README)
    assert links
    assert all((ROOT / link).exists() for link in links)
