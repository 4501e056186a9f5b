"""Handing a result on: `prepare_upload` (see `surgery.publish.prospect`) finds out, `carry_out` sends.

    folder ─ checks ─► repository ─► pull request ─► weights … ─► card, manifest ─► compare ─► merge, compare
             │ gates    private,      ours, found     commits of   one commit       every hash, before
             │ sums     unless told   after a cut     about 2 GB                    and after the merge
             │ card

The pull request's title carries the manifest's hash, so the same command run again after a cut goes on in the
same pull request, from any machine, and sends only what is not there. `main` changes once, at the merge, and
only when every file of the pull request has the hash it has here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from surgery.errors import UploadError
from surgery.hub import repository as hub
from surgery.publish.bundle import LAST, Bundle, LocalFile
from surgery.publish.comparison import different, disagreements
from surgery.publish.prospect import MAIN, Prospect, show_card

COMMIT_BYTES = 2 << 30
"""A commit is made when as much as this has been sent, so that a cut costs no more."""
Progress = Callable[[int, int], None]


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
        show_card(bundle)
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
        _compare(prospect, MAIN)
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
