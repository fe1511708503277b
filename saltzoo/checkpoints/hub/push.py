"""push_to_hub: a checkpoint from here to the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import RevisionNotFoundError

from ..card import card_on_hub, model_card
from ..folder import CARD, CONFIG, WEIGHTS, load_folder
from ..save import SavableModel, save_pretrained
from .client import CALLER, pushing


class PushedCommit(NamedTuple):
    """What `push_to_hub` made.

    Attributes:
        url: its page.
        sha: its hash: "hf-hub:org/name@SHA" is these weights for ever.
    """

    url: str
    sha: str


def push_to_hub(
    model: SavableModel,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    replace: bool = False,
    commit_message: str = "Checkpoint of saltzoo",
    token: str | None = None,
    **options: Any,
) -> PushedCommit:
    """Puts a model on the Hugging Face Hub, where `create_model("hf-hub:REPO_ID")` finds it.

    Args:
        model: made by `create_model`.
        repo_id: "org/name", or "name" for your own. It is made if it is not there.
        private: whether a new repository is; one that is there stays as it is.
        revision: a branch, made if it is not there. None: "main".
        replace: whether other weights that are there already may be replaced. The commits before keep them.
        commit_message: the title of the one commit that holds all three files.
        token: None for that of HF_TOKEN or `hf auth login`.
        **options: of `save_pretrained`: labels, license, metrics, recipe, dtype.

    Returns:
        The commit's address and hash.

    Raises:
        ValueError: if the model can't be saved, or `repo_id` is malformed.
        FileExistsError: if other weights are there already, and `replace` does not say that they may go.
        OSError: if the Hub refuses or can't be reached; says what to do.
    """
    with TemporaryDirectory() as place:
        folder = save_pretrained(model, place, **options)
        return push_folder(
            folder,
            repo_id,
            private=private,
            revision=revision,
            replace=replace,
            commit_message=commit_message,
            token=token,
        )


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
    """Puts a folder that `save_pretrained` wrote on the Hugging Face Hub, as it is, in one commit.

    Only the three files of a checkpoint are taken. The card's usage then names the repository.

    Args:
        folder: the checkpoint.
        repo_id: as in `push_to_hub`, and so are the other arguments.
        private: whether a new repository is.
        revision: a branch.
        replace: whether other weights may go.
        commit_message: the commit's title.
        token: None for the client's own.

    Raises:
        ValueError: if the folder holds no checkpoint, or `repo_id` is malformed.
        FileExistsError: if other weights are there already, and `replace` is False.
        OSError: if the Hub refuses or can't be reached; says what to do.
    """
    checkpoint = load_folder(folder)
    card_file = folder / CARD
    card = card_file.read_text(encoding="utf-8") if card_file.is_file() else model_card(checkpoint.config)
    api = HfApi(token=token, **CALLER)
    with pushing(repo_id):
        repo = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        weights = CommitOperationAdd(path_in_repo=WEIGHTS, path_or_fileobj=str(folder / WEIGHTS))
        there = _weights_there(api, repo, revision)
    if not replace and there not in (None, weights.upload_info.sha256.hex()):
        raise FileExistsError(
            f"{repo}@{revision or 'main'} holds other weights, and a name is to mean the same weights for ever: push "
            f"to a new name or a new branch (revision), or say that they may go (replace=True, or --replace)"
        )
    with pushing(repo_id):
        # After the look at what is there: a new branch starts with the files of the main one.
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


def _weights_there(api: HfApi, repo: str, revision: str | None) -> str | None:
    """The hash of the weights that a branch holds; None if it holds none, or is not there."""
    try:
        for file in api.get_paths_info(repo, [WEIGHTS], revision=revision):
            lfs = getattr(file, "lfs", None)
            return lfs.sha256 if lfs else "of another kind"
    except RevisionNotFoundError:
        return None  # the branch is yet to be made
    return None
