"""What an upload would do: the folder, the repository and the base looked at, nothing sent but questions."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from surgery.errors import SourceError, UploadError
from surgery.hub import is_hub_id
from surgery.hub import repository as hub
from surgery.hub.repository import Repository
from surgery.publish.advice import advice
from surgery.publish.bundle import Bundle
from surgery.publish.comparison import different, strangers
from surgery.publish.kinds import read_bundle
from surgery.publish.metadata import CARD

MAIN = "main"

Gating = Literal["auto", "manual"]
"""Who may download: whoever asks, or whom the owner lets."""


@dataclass(frozen=True)
class Prospect:
    """What an upload would do; `repository` is None where there is none yet.

    `gated` is how access will be granted, False for without asking; `foreign` are files of the repository
    that the folder does not have.
    """

    bundle: Bundle
    name: str
    private: bool
    gated: bool | str
    repository: Repository | None
    missing: tuple[str, ...]
    foreign: tuple[str, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def prepare_upload(
    folder: Path,
    name: str,
    *,
    public: bool = False,
    replace: bool = False,
    gated: Gating | None = None,
    base: str | None = None,
    licence: str | None = None,
) -> Prospect:
    """Look at the folder and at the repository; nothing is sent but questions, and, where nothing speaks
    against the result, its card to be checked.

    Args:
        folder: a result, an adapter, a dictionary, or a file of directions.
        name: `account/name` of a model repository.
        public: the repository is made public, or may be so already.
        replace: files of the repository that the folder does not have may be deleted.
        gated: how access is to be granted; None leaves it as it is.
        base, licence: see `surgery.publish.kinds.read_bundle`.

    Raises:
        SourceError: the folder is nothing that can be handed on, or the name is none.
        UploadError: what no force helps against: no card, no token, a public repository without the word,
            files that would have to be deleted without the word, a card that the Hub refuses.
    """
    if not is_hub_id(name):
        raise SourceError(f"{name}: is not a repository's name; those look like 'account/name'")
    bundle = read_bundle(folder, name, base=base, licence=licence)
    _sign_in(bundle)
    repository = hub.find_repository(name)
    if repository is not None and not repository.private and not public:
        raise UploadError(f"{name}: exists and is public; say --public to publish there, or name another")
    if not bundle.problems:
        show_card(bundle)
    there = {} if repository is None else hub.remote_files(name, MAIN)
    foreign = tuple(strangers(bundle.files, there))
    if foreign and not replace:
        raise UploadError(
            f"{name}: holds {_some(foreign)}, which {folder} does not have; say --replace to delete them with"
            " the same merge, or name another repository"
        )
    stands = repository.gated if repository is not None else False
    prospect = Prospect(
        bundle,
        name,
        not public if repository is None else repository.private,
        gated or stands,
        repository,
        tuple(different(bundle.files, there)),
        foreign,
        bundle.problems,
        bundle.notes,
    )
    notes = advice(bundle, name, repository, public=public, gated=prospect.gated)
    return dataclasses.replace(prospect, notes=(*bundle.notes, *notes))


def show_card(bundle: Bundle) -> None:
    """Have the Hub check the card's metadata; no force helps against its refusal."""
    refused = hub.card_refused(bundle.card)
    if refused is not None:
        raise UploadError(f"{bundle.folder / CARD}: the Hub does not take its metadata: {refused}")


def _sign_in(bundle: Bundle) -> None:
    """Ask the Hub who we are; where it does not say, what was found in the folder is told all the same."""
    try:
        hub.account()
    except UploadError as error:
        found = bundle.problems or ("nothing speaks against it",)
        said = [str(error), f"{bundle.folder} itself was looked at:", *(f"  {each}" for each in found)]
        raise UploadError("\n".join(said)) from error


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
