"""push_to_hub: write a model to the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from ..checkpoints.hub import PushedCommit, push_folder
from .save import save_pretrained


def push_to_hub(
    model: nn.Module,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    replace: bool = False,
    commit_message: str = "Checkpoint of saltzoo",
    token: str | None = None,
    labels: Sequence[str] | None = None,
    license: str = "other",
    metrics: Sequence[Mapping[str, Any]] = (),
    recipe: Mapping[str, Any] | None = None,
    dtype: str = "float32",
) -> PushedCommit:
    """Push a model to the Hugging Face Hub, for `create_model("hf-hub:REPO_ID")`.

    Args:
        model: made by `create_model`; see `save_pretrained`.
        repo_id: "org/name", or "name" for a repository of your own; created if it does not exist.
        private: whether a new repository is private. An existing one keeps its visibility.
        revision: branch, created if it does not exist. None: "main".
        replace: whether to replace other weights. They stay in the branch's earlier commits.
        commit_message: title of the commit, which holds all three files.
        token: access token. None: HF_TOKEN, or that of `hf auth login`.
        labels: name of each class, as in `save_pretrained`.
        license: licence of the weights.
        metrics: scores.
        recipe: description of the training.
        dtype: "float32", "float16" or "int8".

    Returns:
        The commit's address and hash.

    Raises:
        ValueError: if the model cannot be saved, or `repo_id` is malformed.
        FileExistsError: if the branch holds other weights and `replace` is False.
        OSError: if the Hub refuses the push or cannot be reached.
    """
    with TemporaryDirectory() as place:
        folder = save_pretrained(
            model,
            Path(place) / "checkpoint",
            labels=labels,
            license=license,
            metrics=metrics,
            recipe=recipe,
            dtype=dtype,
        )
        return push_folder(
            folder,
            repo_id,
            private=private,
            revision=revision,
            replace=replace,
            commit_message=commit_message,
            token=token,
        )
