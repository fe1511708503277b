"""push_folder: write a checkpoint's folder to the Hub."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import NamedTuple

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile

from ..._checks import check_flags
from ..card import card_on_hub, ensemble_card, model_card
from ..ensemble import EnsembleCheckpoint, load_any_folder, members_in
from ..folder import CARD, CONFIG, WEIGHTS, Checkpoint
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

    Only the three files of a checkpoint are pushed, of an ensemble those of each member, too. In the card, the
    repository replaces the local path.

    Args:
        folder: the checkpoint, or the ensemble.
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
    checkpoint = load_any_folder(folder)
    card = _card_of(folder, checkpoint)
    members = members_in(folder / CONFIG, str(folder))
    weights_files = [f"{name}/{WEIGHTS}" for name in members] or [WEIGHTS]
    others = [CONFIG, *(f"{name}/{file}" for name in members for file in (CONFIG, CARD))]
    api = HfApi(token=token, **CALLER)
    with pushing(repo_id):
        repo = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        weights = [_added(folder, name) for name in weights_files]
        present = _hashes_of_weights(api, repo, revision)
    if not replace and present not in ({}, {one.path_in_repo: one.upload_info.sha256.hex() for one in weights}):
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
                *(_added(folder, name) for name in others if (folder / name).is_file()),
                *weights,
                CommitOperationAdd(path_in_repo=CARD, path_or_fileobj=card_on_hub(card, repo, revision).encode()),
            ],
            commit_message=commit_message,
            revision=revision,
        )
    return PushedCommit(commit.commit_url, commit.oid)


def _added(folder: Path, name: str) -> CommitOperationAdd:
    return CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(folder / name))


def _card_of(folder: Path, checkpoint: Checkpoint | EnsembleCheckpoint) -> str:
    file = folder / CARD
    if file.is_file():
        return file.read_text(encoding="utf-8")
    if isinstance(checkpoint, EnsembleCheckpoint):
        return ensemble_card(checkpoint.config, [member.config for member in checkpoint.members])
    return model_card(checkpoint.config)


def _hashes_of_weights(api: HfApi, repo: str, revision: str | None) -> dict[str, str]:
    """Return the SHA-256 of each file of weights in a branch, "" if it is not in LFS; {} without weights or branch."""
    try:
        files = list(api.list_repo_tree(repo, recursive=True, revision=revision))
    except RevisionNotFoundError:
        return {}
    weights = [file for file in files if isinstance(file, RepoFile) and PurePosixPath(file.path).name == WEIGHTS]
    return {file.path: file.lfs.sha256 if file.lfs else "" for file in weights}
