"""Handing a result on: `prepare_upload` finds out, `carry_out` sends.

    folder ─ checks ─► repository ─► pull request ─► weights … ─► card, manifest ─► compare ─► merge, compare
             │ gates    private,      ours, found     commits of   one commit       every hash, before
             │ sums     unless told   after a cut     about 2 GB                    and after the merge
             │ card

The pull request's title carries the manifest's hash, so the same command run again after a cut goes on in the
same pull request, from any machine, and sends only what is not there. `main` changes once, at the merge, and
only when every file of the pull request has the hash it has here.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from surgery.errors import SourceError, UploadError
from surgery.hub import repository as hub
from surgery.hub.repository import Repository
from surgery.publish.advice import advice
from surgery.publish.bundle import LAST, Bundle, LocalFile
from surgery.publish.comparison import different, disagreements, strangers
from surgery.publish.kinds import read_bundle
from surgery.publish.metadata import CARD

COMMIT_BYTES = 2 << 30
"""A commit is made when as much as this has been sent, so that a cut costs no more."""
_MAIN = "main"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

Gating = Literal["auto", "manual"]
"""Who may download: whoever asks, or whom the owner lets."""
Progress = Callable[[int, int], None]


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


@dataclass(frozen=True)
class Published:
    """What was done. `pull_request` is None where the repository held all of it already."""

    name: str
    kind: str
    commit: str
    private: bool
    gated: bool | str
    pull_request: int | None
    resumed: bool
    n_files: int
    n_bytes: int
    sent_bytes: int
    forced_past: tuple[str, ...]
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
    if not _NAME.fullmatch(name):
        raise SourceError(f"{name}: is not a repository's name; those look like 'account/name'")
    bundle = read_bundle(folder, name, base=base, licence=licence)
    hub.account()
    repository = hub.find_repository(name)
    if repository is not None and not repository.private and not public:
        raise UploadError(f"{name}: exists and is public; say --public to publish there, or name another")
    if not bundle.problems:
        _show_card(bundle)
    there = {} if repository is None else hub.remote_files(name, _MAIN)
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


def carry_out(prospect: Prospect, *, force: bool = False, progress: Progress | None = None) -> Published:
    """Send what is missing over a pull request, compare, merge, compare again.

    Args:
        force: go on in spite of the prospect's problems; they are written into the pull request.
        progress: called with (bytes that stand there, bytes in all).

    Raises:
        UploadError: there are problems and no force, the Hub refused, or what stands there differs.
    """
    bundle, name = prospect.bundle, prospect.name
    if prospect.problems and not force:
        raise UploadError(
            f"{bundle.folder}: was not sent to {name}:\n  "
            + "\n  ".join(prospect.problems)
            + "\n--force publishes it all the same"
        )
    if prospect.problems:
        _show_card(bundle)
    with _told("nothing of the result was sent: run the same command again"):
        if prospect.repository is None:
            _create(prospect)
        _gate(prospect)
        if prospect.repository is not None and not prospect.missing and not prospect.foreign:
            return _published(prospect, hub.head(name), None, sent=0)
        number, resumed = hub.open_pull_request(name, _title(bundle), _description(prospect))
    with _told(
        f"pull request {number} of {name} keeps what was sent: run the same command again to go on, or close"
        " it there to begin anew"
    ):
        sent = _send(prospect, hub.reference(number), progress)
        _compare(prospect, hub.reference(number))
        commit = hub.merge(name, number)
        _compare(prospect, _MAIN)
    return _published(prospect, commit, number, sent=sent, resumed=resumed)


@contextmanager
def _told(said: str) -> Iterator[None]:
    """Say how things stand when the block is interrupted or fails."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(f"stopped; {said}")
        raise
    except UploadError as error:
        raise UploadError(f"{error}\n{said}") from error


def _show_card(bundle: Bundle) -> None:
    refused = hub.card_refused(bundle.card)
    if refused is not None:
        raise UploadError(f"{bundle.folder / CARD}: the Hub does not take its metadata: {refused}")


def _create(prospect: Prospect) -> None:
    hub.create_repository(prospect.name, private=prospect.private)
    made = hub.find_repository(prospect.name)
    if made is None or made.private != prospect.private:
        wanted = "private" if prospect.private else "public"
        raise UploadError(
            f"{prospect.name}: was to be {wanted}, and the Hub does not say so; nothing was sent"
        )


def _gate(prospect: Prospect) -> None:
    """Have the Hub ask who downloads, before there is anything to download."""
    name, wanted = prospect.name, prospect.gated
    stands = False if prospect.repository is None else prospect.repository.gated
    if not isinstance(wanted, str) or wanted == stands:
        return
    hub.set_gating(name, wanted)
    made = hub.find_repository(name)
    if made is None or made.gated != wanted:
        raise UploadError(
            f"{name}: was to be gated ({wanted}), and the Hub does not say so; nothing was sent"
        )


def _send(prospect: Prospect, revision: str, progress: Progress | None) -> int:
    """Send what the pull request does not hold yet; returns the bytes of it."""
    bundle, name = prospect.bundle, prospect.name
    there = hub.remote_files(name, revision)
    missing = list(different(bundle.files, there))
    todo = sum(bundle.files[each].size for each in missing)
    standing, total = bundle.n_bytes - todo, bundle.n_bytes
    for batch in _batches([each for each in missing if each not in LAST], bundle.files):
        hub.commit_files(name, _paths(bundle, batch), revision=revision, message=_message(batch))
        standing += sum(bundle.files[each].size for each in batch)
        if progress is not None:
            progress(standing, total)
    closing = [each for each in missing if each in LAST]
    deleted = [each for each in prospect.foreign if each in there]
    if closing or deleted:
        message = "Card and manifest" if closing else "Delete what is not part of this result"
        hub.commit_files(name, _paths(bundle, closing), revision=revision, message=message, deleted=deleted)
    if progress is not None:
        progress(total, total)
    return todo


def _batches(names: list[str], files: Mapping[str, LocalFile]) -> Iterator[list[str]]:
    batch: list[str] = []
    for name in names:
        batch.append(name)
        if sum(files[each].size for each in batch) >= COMMIT_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def _compare(prospect: Prospect, revision: str) -> None:
    wrong = list(disagreements(prospect.bundle.files, hub.remote_files(prospect.name, revision)))
    if wrong:
        raise UploadError(f"{prospect.name} at {revision} is not what was sent:\n  " + "\n  ".join(wrong))


def _published(
    prospect: Prospect, commit: str, number: int | None, *, sent: int, resumed: bool = False
) -> Published:
    bundle = prospect.bundle
    return Published(
        prospect.name,
        bundle.kind,
        commit,
        prospect.private,
        prospect.gated,
        number,
        resumed,
        len(bundle.files),
        bundle.n_bytes,
        sent,
        prospect.problems,
        prospect.notes,
    )


def _title(bundle: Bundle) -> str:
    return f"Upload by surgery, manifest {bundle.identity[:16]}"


def _description(prospect: Prospect) -> str:
    said = [f"SHA-256 of SHA256SUMS: {prospect.bundle.identity}"]
    if prospect.problems:
        said += ["", "Published by force, in spite of:", *(f"- {each}" for each in prospect.problems)]
    return "\n".join(said)


def _message(names: list[str]) -> str:
    return f"Add {names[0]}" if len(names) == 1 else f"Add {names[0]} and {len(names) - 1} more"


def _paths(bundle: Bundle, names: list[str]) -> dict[str, Path | bytes]:
    return {name: bundle.files[name].content for name in names}


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
