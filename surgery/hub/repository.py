"""A model repository of the Hub as something to publish to: made, filled over a pull request, merged.

Nothing here decides whether a result may be published; `surgery.publish` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from surgery.errors import UploadError
from surgery.hub.client import api, reason, steady


@dataclass(frozen=True)
class Repository:
    """A repository as it stands: `gated` is False, or how access is granted (`auto`, `manual`)."""

    name: str
    private: bool
    gated: bool | str


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository; `sha256` is None for one that git itself stores, which has a blob hash only."""

    size: int
    sha256: str | None
    blob_sha1: str


def account() -> str:
    """The name of the account whose token the Hub's client holds.

    Raises:
        UploadError: there is no token, or the Hub does not accept it.
    """
    from huggingface_hub.errors import LocalTokenNotFoundError

    try:
        return str(steady("asking the Hub who is logged in", api().whoami)["name"])
    except UploadError as error:
        if not isinstance(error.__cause__, LocalTokenNotFoundError):
            raise
        raise UploadError(
            "no token for the Hub is stored here; run `hf auth login`, or set HF_TOKEN"
        ) from error


def find_repository(name: str) -> Repository | None:
    """A repository, or None where there is none that this account may see."""
    from huggingface_hub.errors import RepositoryNotFoundError

    def ask() -> Repository | None:
        try:
            found = api().model_info(name)
        except RepositoryNotFoundError:
            return None
        return Repository(name, bool(found.private), found.gated or False)

    return steady(f"looking up {name}", ask)


def create_repository(name: str, *, private: bool) -> None:
    """Make a repository; where one has appeared meanwhile it is left as it is, so look again."""
    steady(f"creating {name}", lambda: api().create_repo(name, private=private, exist_ok=True))


def set_gating(name: str, mode: str) -> None:
    """Have the Hub ask who wants a repository's files: `auto` lets everyone who asks, `manual` waits for the
    owner."""
    wanted = cast(Literal["auto", "manual"], mode)
    steady(f"gating {name}", lambda: api().update_repo_settings(name, gated=wanted))


def remote_files(name: str, revision: str) -> dict[str, RemoteFile]:
    """Every file of a repository at a revision."""
    from huggingface_hub.hf_api import RepoFile

    def ask() -> dict[str, RemoteFile]:
        tree = api().list_repo_tree(name, recursive=True, revision=revision)
        return {
            each.path: RemoteFile(each.size, None if each.lfs is None else each.lfs.sha256, each.blob_id)
            for each in tree
            if isinstance(each, RepoFile)
        }

    return steady(f"listing {name} at {revision}", ask)


def open_pull_request(name: str, title: str, description: str) -> tuple[int, bool]:
    """The number of this account's unmerged pull request of that title, and whether it was there before.

    Somebody else's of the same title is left alone: what it holds is not ours.
    """
    author = account()

    def ask() -> tuple[int, bool]:
        for each in api().get_repo_discussions(name):
            ours = each.is_pull_request and each.title == title and each.author == author
            if ours and each.status in ("open", "draft"):
                return each.num, True
        return api().create_pull_request(name, title, description=description).num, False

    return steady(f"opening a pull request on {name}", ask)


def reference(number: int) -> str:
    """The revision that a pull request's files stand at."""
    return f"refs/pr/{number}"


def commit_files(
    name: str,
    files: Mapping[str, Path | bytes],
    *,
    revision: str,
    message: str,
    description: str = "",
    deleted: Sequence[str] = (),
) -> None:
    """Send files in one commit, large ones first to the Hub's storage; those that stand there are skipped."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    def send() -> None:
        # Made anew at each try: an operation remembers what of it was sent.
        present = remote_files(name, revision) if deleted else {}
        api().create_commit(
            name,
            [
                *(CommitOperationAdd(path, file) for path, file in files.items()),
                *(CommitOperationDelete(path) for path in deleted if path in present),
            ],
            commit_message=message,
            commit_description=description,
            revision=revision,
        )

    first, others = next(iter(files), "deletions"), len(files) - 1
    steady(f"sending {first}{f' and {others} more' if others > 0 else ''} to {name}", send)


def merge(name: str, number: int) -> str:
    """Merge a pull request, unless it is merged; returns the commit that `main` then stands at."""

    def ask() -> None:
        status = api().get_discussion_details(name, number).status
        if status == "draft":
            api().change_discussion_status(name, number, "open")
        if status != "merged":
            api().merge_pull_request(name, number)

    steady(f"merging pull request {number} of {name}", ask)
    return head(name)


def head(name: str) -> str:
    """The commit that `main` stands at."""
    return str(steady(f"looking up {name}", lambda: api().model_info(name)).sha)


def card_refused(text: str) -> str | None:
    """Why the Hub would not take a card's metadata; None where it would.

    The client reads the front matter first, the Hub's own check sees the card after that.
    """
    from huggingface_hub import ModelCard

    try:
        card = ModelCard(text)
    except (ValueError, TypeError, KeyError) as error:
        return reason(error)
    try:
        steady("checking the card's metadata", lambda: card.validate(repo_type="model"))
    except UploadError as error:
        if isinstance(error.__cause__, ValueError):
            return reason(error.__cause__)
        raise
    return None


@contextmanager
def progress_bars(show: bool) -> Iterator[None]:
    """The client's own progress bars, shown or not while the block runs."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if show or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
