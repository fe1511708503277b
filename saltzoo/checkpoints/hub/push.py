"""push_folder: write a checkpoint's folder to the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile

from ..._checks import check_flags
from ..card import card_on_hub, model_card
from ..folder import CARD, CONFIG, WEIGHTS, load_folder
from .client import CALLER, pushing


class PushedCommit(NamedTuple):
    """The commit that a push made.

    Attributes:
        url: address of its page.
        sha: its hash; "hf-hub:org/name@SHA" always means these weights.
    """

    url: str
    sha: str


def push_folder(
    folder: Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    replace: bool = False,
    commit_message: str = "Checkpoint of saltzoo",
    token: str | None = None,
) -> PushedCommit:
    """Push a folder that `save_pretrained` wrote, in one commit.

    Only the three files of a checkpoint are pushed. In the card, the repository replaces the local path.

    Args:
        folder: the checkpoint.
        repo_id: "org/name", or "name" for a repository of your own; created if it does not exist.
        private: create a private repository. An existing one keeps its visibility.
        revision: branch, created if it does not exist. None: "main".
        replace: replace other weights. They stay in the branch's earlier commits.
        commit_message: title of the commit, which holds all three files.
        token: access token. None: HF_TOKEN, or that of `hf auth login`.

    Raises:
        ValueError: if the folder holds no valid checkpoint, or `repo_id` is malformed.
        FileExistsError: if the branch holds other weights and `replace` is False.
        OSError: if the Hub refuses the push or cannot be reached.
    """
    check_flags(private=private, replace=replace)
    checkpoint = load_folder(folder)
    card_file = folder / CARD
    card = card_file.read_text(encoding="utf-8") if card_file.is_file() else model_card(checkpoint.config)
    api = HfApi(token=token, **CALLER)
    with pushing(repo_id):
        repo = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        weights = CommitOperationAdd(path_in_repo=WEIGHTS, path_or_fileobj=str(folder / WEIGHTS))
        present = _hash_of_weights(api, repo, revision)
    if not replace and present not in (None, weights.upload_info.sha256.hex()):
        raise FileExistsError(
            f"{repo}@{revision or 'main'} holds other weights, and a name should always mean the same weights: push to "
            f"a new name or a new branch (revision), or replace them (replace=True, or --replace)"
        )
    with pushing(repo_id):
        # After the comparison, because a new branch starts with the files of the main branch.
        if revision is not None and revision != "main":
            api.create_branch(repo, branch=revision, exist_ok=True)
        commit = api.create_commit(
            repo,
            [
                CommitOperationAdd(path_in_repo=CONFIG, path_or_fileobj=str(folder / CONFIG)),
                weights,
                CommitOperationAdd(path_in_repo=CARD, path_or_fileobj=card_on_hub(card, repo, revision).encode()),
            ],
            commit_message=commit_message,
            revision=revision,
        )
    return PushedCommit(commit.commit_url, commit.oid)


def _hash_of_weights(api: HfApi, repo: str, revision: str | None) -> str | None:
    """Return the SHA-256 of the weights in a branch, "" if they are not in LFS, or None without weights or branch."""
    try:
        files = api.get_paths_info(repo, [WEIGHTS], revision=revision)
    except RevisionNotFoundError:
        return None
    hashes = [file.lfs.sha256 if file.lfs else "" for file in files if isinstance(file, RepoFile)]
    return hashes[0] if hashes else None
