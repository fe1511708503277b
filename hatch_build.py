"""Metadata that need the repository's address: the README for PyPI, whose links are absolute, and the project's links.

GitHub's workflows name the repository, owner/name, in GITHUB_REPOSITORY. Without it relative links become text.
"""

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

ROOT = Path(__file__).parent
_PICTURE = re.compile(r"!\[[^\[\]]+\]\(\S+\)\n\n\*[^*]+\*\n\n")
_LINK = re.compile(r"(!?)\[([^\[\]]+)\]\((?!https?://|#)([^)\s]+)\)")


class Metadata(MetadataHookInterface):
    """Fill `readme` and `urls` of the project's metadata."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the README and the addresses."""
        repository = os.environ.get("GITHUB_REPOSITORY", "")
        text = (ROOT / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": with_absolute_links(text, repository)}
        metadata["urls"] = addresses(repository)


def with_absolute_links(text: str, repository: str) -> str:
    """Return Markdown whose links and pictures lead to a repository on GitHub.

    Args:
        text: Markdown with links relative to the repository's root.
        repository: owner/name, or "": links become their text, and pictures with their captions are left out.
    """

    def replace(match: re.Match[str]) -> str:
        picture, label, target = match.groups()
        if not repository:
            return label
        if picture:
            return f"![{label}](https://raw.githubusercontent.com/{repository}/HEAD/{target})"
        return f"[{label}](https://github.com/{repository}/blob/HEAD/{target})"

    return _LINK.sub(replace, text if repository else _PICTURE.sub("", text))


def addresses(repository: str) -> dict[str, str]:
    """Return the project's addresses on GitHub, none without a repository.

    Args:
        repository: owner/name, or "".
    """
    if not repository:
        return {}
    owner, name = repository.split("/")
    source = f"https://github.com/{repository}"
    return {
        "Documentation": f"https://{owner.lower()}.github.io/{name}/",
        "Source": source,
        "Changes": f"{source}/blob/HEAD/CHANGELOG.md",
        "Issues": f"{source}/issues",
    }
