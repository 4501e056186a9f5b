"""A finished result as it would be handed on: what `surgery apply` left.

What stops an upload that is not forced: a gate of the recipe that failed, a file that is not as `SHA256SUMS`
lists it, an index that does not hold, a card whose metadata is wrong. Files that `SHA256SUMS` does not list,
and links that lead out of the folder, are never sent, forced or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from surgery.checkpoint.sums import SUMS_FILE, read_sums
from surgery.demo.sources import is_demo
from surgery.edit.plan_record import read_record
from surgery.edit.recheck import RECORD, recheck
from surgery.errors import CheckpointError, SourceError, UploadError
from surgery.hub import is_hub_id
from surgery.publish.bundle import Bundle, LocalFile, make_bundle, on_disk
from surgery.publish.metadata import CARD, card_fields, card_problems, read_card


def read_result(folder: Path, name: str, *, base: str | None = None, licence: str | None = None) -> Bundle:
    """Look at a result that `surgery apply` wrote, to be sent to the repository `name`; every file is read
    once.

    Args:
        base, licence: see `surgery.publish.kinds.read_bundle`; they stand in the card that is sent.

    Raises:
        SourceError: the folder holds no record of an edit, or its card names base or licence already.
        UploadError: there is no card or no manifest, without which nothing is sent even by force.
    """
    changed = recheck(folder, None).problems
    card = _completed(read_card(folder), folder, base, licence)
    try:
        sums = read_sums(folder)
    except CheckpointError as error:
        raise UploadError(f"{error}; without it nobody could check what was sent") from error
    report = read_record(folder / RECORD / "report.json")
    report = report if isinstance(report, dict) else {}
    files = _files(folder, sums, trusted=not changed)
    return make_bundle(
        folder,
        "result",
        files,
        card,
        name=name,
        base=base or _base(report),
        listed=sums,
        problems=(
            *_failed_gates(report),
            *changed,
            *_links(folder, sums, files),
            *card_problems(card),
        ),
        notes=(*_notes(report), *_unnamed(report, card)),
    )


def _completed(card: str, folder: Path, base: str | None, licence: str | None) -> str:
    """The card with what its front matter lacks in front, and every other byte as it was."""
    fields = card_fields(card)
    given = {"base_model": base, "license": licence}
    for key, option in (("base_model", "--base"), ("license", "--license")):
        if given[key] is not None and key in fields:
            raise SourceError(f"{folder / CARD}: names {key} {fields[key]!r}; leave {option} out")
    if base is not None:
        if not is_hub_id(base):
            raise SourceError(f"--base {base}: is no Hub id like 'organisation/name'")
        given["base_model_relation"] = "adapter" if fields.get("library_name") == "peft" else "finetune"
    added = {key: value for key, value in given.items() if value is not None and key not in fields}
    front = yaml.safe_dump(added, sort_keys=True) if added else ""
    return card.replace("---\n", f"---\n{front}", 1) if fields else card


def _files(folder: Path, sums: Mapping[str, str], *, trusted: bool) -> dict[str, LocalFile]:
    """The listed files that stand inside the folder; `trusted` says that their hashes were just checked."""
    home = folder.resolve()
    paths = {name: folder / name for name in sorted({*sums, SUMS_FILE})}
    return {
        name: on_disk(path, sums.get(name) if trusted else None)
        for name, path in paths.items()
        if path.is_file() and path.resolve().is_relative_to(home)
    }


def _links(folder: Path, sums: Mapping[str, str], files: Mapping[str, LocalFile]) -> Iterator[str]:
    for name in sorted(sums.keys() - files.keys()):
        if (folder / name).is_file():
            yield f"{name}: leads out of the folder, and is never sent"


def _failed_gates(report: Mapping[str, Any]) -> Iterator[str]:
    if report.get("verdict") != "fail":
        return
    rows = (report.get("verification") or {}).get("rows") or []
    gates = [(row.get("label"), row["gate"]) for row in rows if row.get("gate")]
    failed = [f"{label} ({gate.get('text')})" for label, gate in gates if gate.get("verdict") == "fail"]
    yield f"a gate of its recipe failed: {'; '.join(failed) or 'see surgery/report.json'}"


def _notes(report: Mapping[str, Any]) -> Iterator[str]:
    verdict = report.get("verdict")
    if verdict == "inconclusive":
        yield "a gate of its recipe is not decided: too few items were measured"
    elif verdict in ("not measured", "no gates"):
        yield f"its recipe demands nothing of it: {verdict}"


def _unnamed(report: Mapping[str, Any], card: str) -> Iterator[str]:
    source = (report.get("model") or {}).get("source")
    if "base_model" not in card_fields(card) and isinstance(source, str) and not is_demo(source):
        yield f"its card names no base: say which model of the Hub {source!r} is by --base organisation/name"


def _base(report: Mapping[str, Any]) -> str | None:
    """The Hub id of the base; None where it is a folder or the embedded model."""
    model = report.get("model") or {}
    return model.get("source") if model.get("commit") else None
