"""Draw the house in CONTRIBUTING.md: `python docs/make_house.py`; with `--check`, only check the page.

The diagram shows which folder of the package imports which. Only the edges that no longer path implies are drawn, and
not the files at the top, which every folder imports.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from _page import between, write_or_check

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "saltzoo"
PAGE = ROOT / "CONTRIBUTING.md"
MARKS = ("<!-- house: begin, written by docs/make_house.py -->\n", "<!-- house: end -->")

Graph = Mapping[str, set[str]]


def imports(package: Path) -> Graph:
    """Return the folders of a package that each of its folders imports, without private ones."""
    names = {path.parent.name for path in package.glob("*/__init__.py") if not path.parent.name.startswith("_")}
    return {name: set(_imported(package, name)) & names - {name} for name in sorted(names)}


def _imported(package: Path, folder: str) -> Iterator[str]:
    """Yield the entries of the package that the files of a folder import, at their top or in a function."""
    for path in sorted((package / folder).rglob("*.py")):
        depth = len(path.relative_to(package).parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == depth:
                yield from [node.module.partition(".")[0]] if node.module else [alias.name for alias in node.names]


def reduced(graph: Graph) -> dict[str, set[str]]:
    """Return the least edges of an acyclic graph with the same paths."""

    def reached(node: str) -> set[str]:
        return set().union(*({one} | reached(one) for one in graph[node]))

    return {node: after - set().union(*(reached(one) for one in after)) for node, after in graph.items()}


def diagram(graph: Graph) -> str:
    """Return a graph as Mermaid text, from the importing folder to the imported one."""
    edges = [f"    {node} --> {other}" for node, after in graph.items() for other in sorted(after)]
    alone = [f"    {node}" for node in graph if not graph[node] and all(node not in after for after in graph.values())]
    return "\n".join(["```mermaid", "flowchart TD", *edges, *alone, "```"]) + "\n"


def page() -> str:
    """Return the page with the diagram of the code as it is."""
    return between(PAGE.read_text(encoding="utf-8"), MARKS, diagram(reduced(imports(PACKAGE))))


if __name__ == "__main__":
    sys.exit(write_or_check({PAGE: page}, __doc__))
