"""What each call tells the Hub of its caller, and what the client's refusals mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ..._version import __version__
from ..folder import what_is_there

CALLER: dict[str, Any] = {"library_name": "saltzoo", "library_version": __version__}

# What goes wrong is the client's own error, or one of the HTTP library under it, and that is not always the same one:
# both ways turn whatever comes into a ValueError for what was given wrong, and an OSError for what was not to be had.


@contextmanager
def fetching(repo_id: str, revision: str | None, name: str) -> Iterator[None]:
    """Explains why a file can't be fetched.

    Raises:
        ValueError: if `repo_id` is malformed.
        OSError: for everything else.
    """
    try:
        yield
    except HFValidationError as error:
        raise _malformed(repo_id, error) from error
    except Exception as error:
        raise OSError(_why_not_fetched(error, repo_id, revision, name)) from error


@contextmanager
def pushing(repo_id: str) -> Iterator[None]:
    """Explains why nothing can be pushed.

    Raises:
        ValueError: if `repo_id` is malformed.
        OSError: for everything else.
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
        error = error.__cause__  # of a download that was forced, the client says "due to the above error"
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
    if isinstance(error, RemoteEntryNotFoundError):
        return f"{where} has no {name}, so it is no checkpoint of saltzoo. {_what_is_on_hub(repo_id, revision)}"
    if _status(error) == 401:
        return f"the Hub does not know the token that {where} was asked for with: log in again with `hf auth login`"
    return f"{name} of {where} could not be fetched: {_words(error)}. If the network is to blame, try again"


def _why_not_pushed(error: Exception, repo_id: str) -> str:
    if isinstance(error, OfflineModeIsEnabled):
        return f"{repo_id} can't be pushed to, as HF_HUB_OFFLINE is set: unset it"
    if isinstance(error, RepositoryNotFoundError) or _status(error) == 401:
        return (
            f"the Hub lets nobody push to {repo_id} without a token that it knows: log in with `hf auth login`, set "
            f"HF_TOKEN, or give token="
        )
    if _status(error) == 403:
        return (
            f"this token may not write to {repo_id}: push to a name of your own, or use a token with the right to "
            f"write for {repo_id.partition('/')[0]}"
        )
    return f"{repo_id} could not be pushed to: {_words(error)}. Check the network and HF_ENDPOINT, and try again"


def _status(error: BaseException) -> int | None:
    """The answer's status; an error of an upload stands behind one that only names the file."""
    response = getattr(error, "response", None)
    if response is None and error.__cause__ is not None:
        return _status(error.__cause__)
    return getattr(response, "status_code", None)


def _words(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")


def _what_is_on_hub(repo_id: str, revision: str | None) -> str:
    try:
        names = HfApi(**CALLER).list_repo_files(repo_id, revision=revision)
    except Exception:  # the list only makes the message better
        return "Give one that push_to_hub made"
    return what_is_there(names)
