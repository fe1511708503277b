"""Settings of the Hub's client, and explanations of its errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ..._version import __version__
from ..folder import what_is_there

CALLER: dict[str, Any] = {"library_name": "saltzoo", "library_version": __version__}

# The client raises its own errors and those of the HTTP library under it, which depends on the client's version. Both
# context managers therefore catch every error: a malformed argument becomes a ValueError, all else an OSError.


@contextmanager
def fetching(repo_id: str, revision: str | None, name: str) -> Iterator[None]:
    """Explain why a file cannot be fetched.

    Raises:
        ValueError: if `repo_id` is malformed.
        OSError: for every other error.
    """
    try:
        yield
    except HFValidationError as error:
        raise _malformed(repo_id, error) from error
    except Exception as error:
        raise OSError(_why_not_fetched(error, repo_id, revision, name)) from error


@contextmanager
def pushing(repo_id: str) -> Iterator[None]:
    """Explain why nothing can be pushed.

    Raises:
        ValueError: if `repo_id` is malformed.
        OSError: for every other error.
    """
    try:
        yield
    except HFValidationError as error:
        raise _malformed(repo_id, error) from error
    except Exception as error:
        raise OSError(_why_not_pushed(error, repo_id)) from error


def _malformed(repo_id: str, error: Exception) -> ValueError:
    return ValueError(f"not a repository of the Hub: {repo_id!r} (expected org/name): {error}")


def _why_not_fetched(error: Exception, repo_id: str, revision: str | None, name: str) -> str:
    where = f"{repo_id}@{revision or 'main'}"
    if isinstance(error, ValueError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # with force_download, the client hides the reason behind a ValueError
    if isinstance(error, GatedRepoError):
        return f"{repo_id} is gated: ask for access on its page, then log in with `hf auth login`"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"no repository {repo_id} on the Hub, or it is private: check the name, or log in with `hf auth login` "
            f"(or set HF_TOKEN)"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{repo_id} has no revision {revision!r}: use a branch, a tag or a commit of it"
    if isinstance(error, LocalEntryNotFoundError):
        return (
            f"{name} of {where} is not in the cache, and the Hub was not asked or did not answer: "
            f"check the network, HF_ENDPOINT and HF_HUB_OFFLINE, or the cache_dir"
        )
    if isinstance(error, EntryNotFoundError):
        return f"{where} has no {name}, so it is not a saltzoo checkpoint. {_what_is_on_hub(repo_id, revision)}"
    if _status(error) == 401:
        return f"the Hub rejected the token that was sent for {where}: log in again with `hf auth login`"
    return f"{name} of {where} could not be fetched: {_words(error)}. Check the network, and try again"


def _why_not_pushed(error: Exception, repo_id: str) -> str:
    if isinstance(error, OfflineModeIsEnabled):
        return f"{repo_id} cannot be pushed to, because HF_HUB_OFFLINE is set: unset it"
    if isinstance(error, RepositoryNotFoundError) or _status(error) == 401:
        return (
            f"a push to {repo_id} needs a token that the Hub accepts: log in with `hf auth login`, set HF_TOKEN, or "
            f"give token="
        )
    if _status(error) == 403:
        return (
            f"this token may not write to {repo_id}: push to a repository of your own, or use a token with write "
            f"access to {repo_id.partition('/')[0]}"
        )
    return f"{repo_id} could not be pushed to: {_words(error)}. Check the network and HF_ENDPOINT, and try again"


def _status(error: BaseException | None) -> int | None:
    """Return the HTTP status of an error or of its cause: the client wraps errors of uploads in a RuntimeError."""
    while error is not None:
        if isinstance(error, HfHubHTTPError):
            return error.response.status_code
        error = error.__cause__
    return None


def _words(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")


def _what_is_on_hub(repo_id: str, revision: str | None) -> str:
    try:
        names = HfApi(**CALLER).list_repo_files(repo_id, revision=revision)
    except Exception:  # the list only improves the message
        return "Give one that push_to_hub wrote"
    return what_is_there(names)
