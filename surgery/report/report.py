"""The report of a run: one object, from which the terminal, report.json, report.html and the card are made.

Layout of report.json (`schema` rises when a key changes its meaning or goes away; new keys may appear):

    schema          "surgery-report/1"
    name, verdict   the recipe's name; "pass", "fail", "inconclusive", "no gates" or "not measured"
    seed, seconds   of the whole run
    model           source, revision, commit, model_type, n_layers, d_model, n_parameters, dtype, licence,
                    tied
    directions[]    name, find, n_train [positive, negative], dictionary_sha256, dictionary_commit,
                    direction and original {sha256, d_model, norm, hook_point {layer, site} | null, origin},
                    selection {chosen, candidates[], limits, n_validation, refusal_tokens, baseline} | null,
                    reconstruction {dictionary, n_features, method, point, curve[], features[], note,
                    agreement[]}
                    | null
    edit            steps[], effects[], n_writers, n_edits, edited_bytes, total_bytes, rounding, notes[],
                    proof {exact, max_component, …} | null, audit {rows[], max_leak, …} | null, edits[]
    verification    verdict, unchanged, detector, detector_note, rows[], controls[], transcripts[] | null;
                    a row has label, suite, unit, base, edited, change {value, low, high}, n, n_base,
                    p_value, detail, gate
    measured_on     suite → {source, file, revision} of its items
    output          folder, form, files[]
    environment     versions, machine, cpu_count, device, dtype, date
    recipe          the recipe's text

Shares are fractions of 1, other numbers carry their unit in `unit`; a value that is not finite is null.
Vectors stand in direction.safetensors and rows per item in records.jsonl, not here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from surgery.direction.direction import Direction
from surgery.direction.find import Finding
from surgery.edit.audit import Audit
from surgery.edit.plan import TensorEdit
from surgery.edit.proof import Proof
from surgery.report.steps import Effect
from surgery.verify.verification import Verification

SCHEMA = "surgery-report/1"


@dataclass(frozen=True)
class ModelFacts:
    """The model that was edited; `commit` is None for a folder and for the embedded model."""

    source: str
    revision: str | None
    commit: str | None
    model_type: str
    n_layers: int
    d_model: int
    n_parameters: int
    dtype: str
    licence: str | None
    tied: bool


@dataclass(frozen=True)
class EditFacts:
    """What was done to the weights; `steps` are plain sentences, `effects` the same for a program."""

    steps: tuple[str, ...]
    n_writers: int
    n_edits: int
    edited_bytes: int
    total_bytes: int
    rounding: str
    proof: Proof | None
    audit: Audit | None
    notes: tuple[str, ...]
    effects: tuple[Effect, ...] = ()
    edits: tuple[TensorEdit, ...] = ()


@dataclass(frozen=True)
class OutputFacts:
    """What was written, and where; `form` is the recipe's: checkpoint or peft."""

    folder: str
    form: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Environment:
    """What it ran on; `date` is ISO 8601; `device` and `dtype` are the model's, None where it was not run."""

    versions: Mapping[str, str]
    machine: str
    cpu_count: int
    device: str | None
    dtype: str | None
    date: str


@dataclass(frozen=True)
class Report:
    """One run, complete."""

    name: str
    recipe_text: str
    model: ModelFacts
    directions: tuple[Finding, ...]
    edit: EditFacts
    verification: Verification | None
    output: OutputFacts
    environment: Environment
    seed: int
    seconds: float
    measured_on: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Suite → where its items come from: `source`, and `file` and `revision` of a Hub dataset."""

    @property
    def verdict(self) -> str:
        """`pass`, `fail` or `inconclusive` over all gates, or `no gates`, or `not measured`."""
        return "not measured" if self.verification is None else self.verification.verdict


def report_as_json(report: Report) -> dict[str, Any]:
    """The report as plain data in a fixed order of keys; see the module's layout."""
    return {
        "schema": SCHEMA,
        "name": report.name,
        "verdict": report.verdict,
        "seed": report.seed,
        "seconds": plain(report.seconds),
        "model": plain(report.model),
        "directions": plain(report.directions),
        "edit": plain(report.edit),
        "verification": _verification(report.verification),
        "measured_on": plain(report.measured_on),
        "output": plain(report.output),
        "environment": plain(report.environment),
        "recipe": report.recipe_text,
    }


def plain(value: Any) -> Any:
    """A value of a report as JSON data: no NumPy, no NaN, mappings sorted by key, dataclasses in field order.

    Raises:
        TypeError: a value of a kind that a report does not hold.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Direction):
        return _direction(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, PurePath):
        return value.as_posix()
    raise TypeError(f"a {type(value).__name__} has no place in report.json")


def _direction(direction: Direction) -> dict[str, Any]:
    return {
        "sha256": direction.sha256,
        "d_model": direction.d_model,
        "norm": plain(direction.norm),
        "hook_point": plain(direction.hook_point),
        "origin": plain(direction.origin),
    }


def _verification(verification: Verification | None) -> dict[str, Any] | None:
    if verification is None:
        return None
    return {
        each.name: plain(getattr(verification, each.name))
        for each in fields(verification)
        if each.name != "records"
    }
