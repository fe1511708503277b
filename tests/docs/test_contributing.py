"""CONTRIBUTING.md: its diagram agrees with the imports, and what it names exists."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
import test_imports

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs")
        spec = importlib.util.spec_from_file_location("make_house", ROOT / "docs" / "make_house.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def closure(edges, nodes):
    """Pairs of nodes with a path, by Warshall's algorithm."""
    paths = set(edges)
    for middle in nodes:
        paths |= {(a, b) for a in nodes for b in nodes if {(a, middle), (middle, b)} <= paths}
    return paths


def test_the_diagram_has_the_paths_of_the_imports_and_no_edge_too_many():
    block = PAGE.partition("```mermaid\n")[2].partition("```")[0]
    edges = set(re.findall(r"^ +(\w+) --> (\w+)$", block, flags=re.MULTILINE))
    folders = {path.parent.name for path in test_imports.ROOT.glob("[a-z]*/__init__.py")}
    assert set(re.findall(r"\w+", block.partition("\n")[2])) == folders
    imported = {
        (test_imports.folder_of(path), other)
        for path in test_imports.FILES
        for other in test_imports.folders_imported(path)
    }
    true = {(one, other) for one, other in imported if one != other and {one, other} <= folders}
    assert len(edges) > 10
    assert edges <= true
    assert closure(edges, folders) == closure(true, folders)
    for edge in edges:
        assert closure(edges - {edge}, folders) != closure(true, folders), edge


def test_the_page_is_up_to_date(script):
    assert script.page() == PAGE


def test_reduction_drops_what_a_path_implies(script):
    graph = {"a": {"b", "c", "d"}, "b": {"c"}, "c": {"d"}, "d": set(), "e": set()}
    assert script.reduced(graph) == {"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": set(), "e": set()}
    assert script.diagram({"a": {"b"}, "b": set(), "e": set()}).splitlines()[2:-1] == ["    a --> b", "    e"]


def test_paths_and_links_exist():
    paths = re.findall(r"`((?:saltzoo|tests|benchmarks|docs|examples|\.ci)/[\w./]+)`", PAGE)
    paths += re.findall(r"python (docs/\w+\.py)", PAGE)
    paths += re.findall(r"\]\((?!https?://|#)([^)#]+)\)", PAGE)
    assert len(paths) > 20
    assert [path for path in paths if "NAME" not in path and not (ROOT / path).exists()] == []


def test_marks_and_extras_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert 'pip install -e ".[test]"' in PAGE
    assert "test" in project["project"]["optional-dependencies"]
    assert project["tool"]["pytest"]["ini_options"]["markers"][0].startswith("slow:")
