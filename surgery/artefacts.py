"""What a run leaves beside the weights: plan, audit, directions, lock, report, card.

Everything goes to `<out>/surgery/`, the card to `<out>/README.md`; the base model's own README is kept as
`surgery/base_README.md`. `<out>/SHA256SUMS` lists every file and is written last. The lock and the directions
hold no time and no machine, so the same run writes the same bytes.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from math import prod
from pathlib import Path
from typing import Any

from surgery.checkpoint.hashes import sha256_file
from surgery.checkpoint.layout import Checkpoint
from surgery.checkpoint.legal import copy_legal_files
from surgery.checkpoint.sums import SUMS_FILE, write_sums
from surgery.checkpoint.workers import available_cores
from surgery.direction.direction import Direction, write_directions
from surgery.direction.find import Finding
from surgery.edit.audit import Audit, audit_as_json
from surgery.edit.plan_record import plan_as_json
from surgery.errors import SourceError
from surgery.export.check import AdapterCheck
from surgery.preparation import Prepared
from surgery.recipe import check_lock, write_lock
from surgery.report.card import write_card
from surgery.report.licence import read_licence
from surgery.report.report import EditFacts, Environment, ModelFacts, OutputFacts, Report
from surgery.report.steps import describe_step, step_effect
from surgery.report.writing import write_report
from surgery.verify.suite import Asked, items_of
from surgery.verify.verification import Verification

FOLDER = "surgery"
_PACKAGES = ("surgery", "torch", "transformers", "safetensors", "peft", "huggingface_hub", "numpy")


@dataclass(frozen=True)
class Written:
    """What stands in the staging folder before it is measured, how it was read back, and the SHA-256 of files
    that are known.
    """

    folder: Path
    audit: Audit | None
    adapter: AdapterCheck | None
    sums: Mapping[str, str | None]


def write_artefacts(
    prepared: Prepared,
    written: Written,
    verification: Verification | None,
    *,
    names: Mapping[str, Any],
    seconds: float,
) -> Report:
    """Write everything but the weights into a staging folder that holds them, and return the report.

    `names` is what `resolved` said.
    """
    folder = written.folder / FOLDER
    folder.mkdir()
    _write_json(folder / "plan.json", plan_as_json(prepared.plan))
    if written.audit is not None:
        _write_json(folder / "audit.json", audit_as_json(written.audit))
    write_directions(folder / "direction.safetensors", _saved_directions(prepared))
    write_lock(folder / "surgery.lock.yaml", prepared.loaded, names)
    if written.adapter is not None:  # a checkpoint's side files are copied with its weights
        copy_legal_files(prepared.checkpoint.folder, written.folder)
    if (written.folder / "README.md").exists():
        (written.folder / "README.md").rename(folder / "base_README.md")
    report = make_report(prepared, written, verification, seconds=seconds)
    write_report(report, written.folder)
    write_card(report, written.folder)
    write_sums(written.folder, {name: each for name, each in written.sums.items() if name != "README.md"})
    return report


def make_report(
    prepared: Prepared, written: Written, verification: Verification | None, *, seconds: float
) -> Report:
    """The report of a run."""
    recipe = prepared.recipe
    files = _file_names(written.folder, measured=verification is not None)
    return Report(
        name=prepared.loaded.name,
        recipe_text=prepared.loaded.text,
        model=_model_facts(prepared),
        directions=prepared.findings,
        edit=_edit_facts(prepared, written),
        verification=verification,
        output=OutputFacts(recipe.output.folder, recipe.output.form, files),
        environment=_environment(prepared),
        seed=recipe.seed,
        seconds=seconds,
        measured_on=_measured_on(prepared.suites),
    )


def _measured_on(suites: Sequence[Asked]) -> dict[str, dict[str, str]]:
    """Where each suite's items come from."""
    wanted = {"source", "file", "revision"}
    return {
        asked.name: items_of(asked.section).model_dump(include=wanted, exclude_none=True) for asked in suites
    }


def resolved(prepared: Prepared) -> dict[str, Any]:
    """What names in the recipe stood for, by content: the lock's `resolved` section."""
    recipe = prepared.recipe
    return {
        "seed": recipe.seed,
        "model": {
            "commit": prepared.snapshot.commit,
            "files": _weight_sums(prepared.checkpoint),
        },
        "prompts": {name: {"sha256": prompts.file_sha256} for name, prompts in prepared.prompts.items()},
        "directions": {finding.name: finding.direction.sha256 for finding in prepared.findings},
        "dictionaries": {
            finding.reconstruction.dictionary: _dictionary(finding)
            for finding in prepared.findings
            if finding.reconstruction is not None
        },
        "versions": _versions(),
    }


def _dictionary(finding: Finding) -> Any:
    """The sum of a dictionary's weights, and its commit where it has one."""
    if finding.dictionary_commit is None:
        return finding.dictionary_sha256
    return {"sha256": finding.dictionary_sha256, "commit": finding.dictionary_commit}


def _weight_sums(checkpoint: Checkpoint) -> dict[str, str]:
    with ThreadPoolExecutor(available_cores()) as pool:
        sums = pool.map(lambda name: sha256_file(checkpoint.folder / name), checkpoint.headers)
        return dict(zip(checkpoint.headers, sums, strict=True))


def hold_to_lock(prepared: Prepared, names: Mapping[str, Any]) -> None:
    """Refuse to go on where a lock file was given and its names no longer stand for the same bytes.

    `names` is what `resolved` said. Other library versions alone are no reason to stop.

    Raises:
        SourceError: naming each input that changed.
    """
    differences = check_lock(prepared.loaded, names)
    if any(not difference.startswith("version of") for difference in differences):
        raise SourceError("the lock does not hold here:\n  " + "\n  ".join(differences))


def _saved_directions(prepared: Prepared) -> Mapping[str, Direction]:
    """Each direction under its name, and what it was rebuilt from under `<name>.original`."""
    saved = prepared.directions
    originals = {
        f"{finding.name}.original": finding.original
        for finding in prepared.findings
        if finding.reconstruction is not None
    }
    return {**saved, **originals}


def _model_facts(prepared: Prepared) -> ModelFacts:
    source, checkpoint = prepared.recipe.model, prepared.checkpoint
    return ModelFacts(
        source=source.source,
        revision=source.revision,
        commit=prepared.snapshot.commit,
        model_type=prepared.anatomy.model_type,
        n_layers=prepared.anatomy.n_layers,
        d_model=prepared.anatomy.d_model,
        n_parameters=sum(prod(entry.shape) for entry in checkpoint.tensors.values()),
        dtype=_main_dtype(checkpoint),
        licence=read_licence(checkpoint.folder),
        tied=prepared.anatomy.tied,
    )


def _edit_facts(prepared: Prepared, written: Written) -> EditFacts:
    plan, steps = prepared.plan, prepared.recipe.edit.steps
    return EditFacts(
        steps=tuple(describe_step(step) for step in steps),
        n_writers=len(prepared.anatomy.writers),
        n_edits=len(plan.edits),
        edited_bytes=plan.edited_bytes,
        total_bytes=plan.total_bytes,
        rounding=plan.rounding,
        proof=prepared.proof,
        audit=written.audit,
        notes=_notes(prepared, written),
        effects=tuple(step_effect(step) for step in steps),
        edits=plan.edits,
    )


def _notes(prepared: Prepared, written: Written) -> tuple[str, ...]:
    notes = prepared.plan.notes if prepared.plan.edits or not prepared.additions else ()
    if written.adapter is None:
        return notes
    check = written.adapter
    return (
        *notes,
        "loaded by PEFT, it equals the same edit as hooks: log-probabilities differ by at most"
        f" {check.error:.0e}, where the edit moves them by up to {check.effect:.2g}",
    )


def _environment(prepared: Prepared) -> Environment:
    model = prepared.load_model.loaded
    return Environment(
        versions=_versions(),
        machine=f"{platform.system()} {platform.machine()}",
        cpu_count=os.cpu_count() or 1,
        device=None if model is None else str(model.device),
        dtype=None if model is None else str(model.network.dtype).removeprefix("torch."),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    return found


def _main_dtype(checkpoint: Checkpoint) -> str:
    """The dtype that most of the parameters are stored in."""
    sizes: Counter[str] = Counter()
    for entry in checkpoint.tensors.values():
        sizes[entry.dtype] += prod(entry.shape)
    return sizes.most_common(1)[0][0]


def _file_names(folder: Path, *, measured: bool) -> tuple[str, ...]:
    """What stands there now, and what the report and the card are about to add."""
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    coming = {"README.md", SUMS_FILE, f"{FOLDER}/report.json", f"{FOLDER}/report.html"}
    return tuple(sorted(present | coming | ({f"{FOLDER}/records.jsonl"} if measured else set())))


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
