"""Limits on the size of files and functions."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("saltzoo", "benchmarks", "docs", "examples")
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]

LINES_OF_A_FILE = 250
LINES_OF_A_FUNCTION = 60


def lines_of_code(function):
    """Lines of a function without its docstring."""
    docstring = ast.get_docstring(function, clean=False)
    return function.end_lineno - function.lineno + 1 - (len(docstring.splitlines()) if docstring else 0)


def functions_of(text):
    nodes = ast.walk(ast.parse(text))
    return [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_lines_are_counted_without_the_docstring():
    (function,) = functions_of('def f():\n    """One.\n\n    Two.\n    """\n    x = 1\n    return x\n')
    assert lines_of_code(function) == 3


def test_files_and_functions_are_short():
    assert len(FILES) > 100
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in FILES}
    assert {
        name: len(text.splitlines()) for name, text in texts.items() if len(text.splitlines()) > LINES_OF_A_FILE
    } == {}
    functions = {(name, one.name): lines_of_code(one) for name, text in texts.items() for one in functions_of(text)}
    assert {where: lines for where, lines in functions.items() if lines > LINES_OF_A_FUNCTION} == {}
