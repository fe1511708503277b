"""The code in the README runs, and its links and commands are valid."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_python_block_runs_and_finds_the_salt(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    (block,) = BLOCKS
    exec(compile(block, "README.md", "exec"), names)
    assert names["score"] > 0.9
    assert names["picture"].shape == (360, 360, 3)


def test_it_fits_on_a_screen_with_its_set_up_first():
    assert len(README.splitlines()) < 100
    first, second, *_ = re.findall(r"```(?:sh|python)\n(.*?)```", README, flags=re.DOTALL)
    assert first.startswith("python3 -m venv ")
    assert second.startswith("python3 -m venv ")


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
