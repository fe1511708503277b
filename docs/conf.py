"""Configure Sphinx: `sphinx-build -W --keep-going -b html docs build/site` writes the site."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import saltzoo

DOCS = Path(__file__).parent
ROOT = DOCS.parent
REPOSITORY = os.environ.get("GITHUB_REPOSITORY", "")  # owner/name, which GitHub sets in its workflows

project = "saltzoo"
author = "The saltzoo authors"
copyright = "the saltzoo authors"
version = release = saltzoo.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_click",
    "sphinx_copybutton",
]
exclude_patterns = ["templates"]
default_role = "py:obj"  # `name` in a docstring is a link where it is a name, and code elsewhere
smartquotes = False  # they would make a dash of the two hyphens of --option
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

autodoc_member_order = "groupwise"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"saltzoo {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
copybutton_exclude = ".linenos, .gp, .go"

WORDS = {
    "start/own_pictures": ("threshold",),
    "howto/adapt": ("fine-tune", "fine-tuning"),
    "howto/training": ("fine-tune", "own pictures"),
    "howto/surveys": ("SEG-Y", "segy", "zarr"),
    "howto/tiles": ("competition", "submission"),
    "howto/export": ("ONNX", "OpenVINO", "int8"),
    "reference/losses": ("Lovasz", "Dice"),
}
"""Words of the index and the search that lead to a page, for pages whose title does not have them."""

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])+)\]\((?!https?://|#)([^)#\s]+)(#[^)]*)?\)")


def link_to_repository(page: Path, text: str, *, repository: str = REPOSITORY) -> str:
    """Return Markdown whose links to files that are not pages lead to the repository on GitHub.

    Links are relative in the sources, so that they work there too. Without a repository their text remains.

    Args:
        page: file of the text.
        text: Markdown.
        repository: owner/name on GitHub, or "".
    """

    def replace(match: re.Match[str]) -> str:
        picture, label, target, _ = match.groups()
        file = (page.parent / target).resolve()
        if picture or (file.is_relative_to(DOCS) and file.suffix == ".md" and "templates" not in file.parts):
            return match[0]
        kind = "tree" if file.is_dir() else "blob"
        path = file.relative_to(ROOT).as_posix()
        return f"[{label}](https://github.com/{repository}/{kind}/main/{path})" if repository else label

    return _LINK.sub(replace, text)


def with_words(name: str, text: str) -> str:
    """Return Markdown with the index entries of `WORDS`, below its heading.

    Args:
        name: path of the page in docs, without its suffix.
        text: Markdown.
    """
    heading = re.search(r"^# .*\n", text, flags=re.MULTILINE)
    if name not in WORDS or heading is None:
        return text
    entries = ", ".join(f"! {word}" for word in WORDS[name])
    return f"{text[: heading.end()]}\n```{{index}} {entries}\n```\n{text[heading.end() :]}"


def setup(app: Any) -> None:
    """Connect the hooks that read each page and select the members of a class."""

    def read(app: Any, name: str, content: list[str]) -> None:
        content[0] = with_words(name, link_to_repository(Path(app.env.doc2path(name)), content[0]))

    def escape(app: Any, context: Any, lines: list[str]) -> None:
        lines[:] = [line.replace("*", r"\*") for line in lines]  # shell patterns in examples

    def leave_out(app: Any, what: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
        return True if name == "extra_repr" else None  # None: as Sphinx decides

    app.connect("source-read", read)
    app.connect("autodoc-skip-member", leave_out)
    app.connect("sphinx-click-process-epilog", escape)
