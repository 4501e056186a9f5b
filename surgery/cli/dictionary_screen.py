"""The screens of `surgery dictionary`: facts, and fit at the hook points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.text import Text

from surgery.cli.layout import HEADING, LABEL, NARROWEST, WIDEST, joined, labelled, section
from surgery.dictionary.config import read_config, table
from surgery.dictionary.dictionary import Dictionary
from surgery.hook_point import to_text
from surgery.model.language_model import LanguageModel
from surgery.report.numbers import count, fixed, level, size
from surgery.report.text import one_line
from surgery.verify.dictionary_fit import DictionaryFit, Fit
from surgery.verify.dictionary_places import READS, said_of_place

_METRICS = {"fvu": "FVU", "l0": "L0", "dead_share": "dead", "loss_recovered": "loss recovered"}
_HEADERS = (("FVU", "L0", "dead", "loss", "CE", "CE"), ("", "", "", "recovered", "spliced", "zero"))
_WIDTHS = (7, 7, 8, 10, 9, 7)
_NAMED = " *"
_NOTED = ("center_writing_weights", "center_unembed", "fold_ln")


def info_as_json(opened: Dictionary, *, sha256: bool) -> dict[str, Any]:
    """What `info` knows, as plain data."""
    held = {
        "name": opened.name,
        "format": opened.format,
        "architecture": opened.architecture,
        "n_features": opened.n_features,
        "d_in": opened.d_in,
        "d_model": opened.d_model,
        "k": opened.k,
        "hook_point": None if opened.hook_point is None else to_text(opened.hook_point),
        "output_point": None if opened.output_point is None else to_text(opened.output_point),
        "is_transcoder": opened.is_transcoder,
        "subtract_b_dec": opened.subtract_b_dec,
        "normalization": opened.normalization,
        "rescaled": opened.gain is not None or opened.decoder_gain is not None,
        "skip": opened.W_skip is not None,
        "mapped": isinstance(opened.W_dec, np.memmap),
        "model": opened.metadata.get("model_name"),
        "file": None if opened.file is None else opened.file.name,
        "bytes": None if opened.file is None else opened.file.stat().st_size,
        "notes": _notes(opened),
        "metrics": _metrics(opened),
    }
    return held | ({"sha256": opened.sha256} if sha256 else {})


def info_lines(opened: Dictionary, *, sha256: bool) -> list[Text]:
    """The screen of `info`."""
    facts = info_as_json(opened, sha256=sha256)
    reads = opened.hook_point or f"{_unread(opened)}; give it with --hook-point"
    rows = {
        "features": f"{count(opened.n_features)} · d_model {opened.d_model}",
        "encoder": " · ".join(_encoder(opened)),
        "reads": f"{reads}" + (f" → {opened.output_point}" if opened.output_point else ""),
        "trained on": one_line(str(facts["model"] or "not said")),
        "file": " · ".join(_file(facts)),
    }
    if sha256:
        rows["sha256"] = facts["sha256"]
    if facts["metrics"]:
        rows["its trainer says"] = " · ".join(_said(facts["metrics"]))
    head = labelled(one_line(opened.name), [f"{opened.format} · {opened.architecture}"], WIDEST - HEADING)
    lines = section("dictionary", [*head, *(line for key, text in rows.items() for line in _row(key, text))])
    return lines + section("note", [Text(note) for note in facts["notes"]])


def _unread(opened: Dictionary) -> str:
    said = said_of_place(opened, READS)
    return "not said" if said is None else f"{said!r}, which is no place that can be hooked here"


def fit_as_json(opened: Dictionary, found: DictionaryFit) -> dict[str, Any]:
    """What `check` measured, as plain data."""
    fits = [
        asdict(fit)
        | {"point": to_text(fit.point), "output_point": fit.output_point and to_text(fit.output_point)}
        for fit in found.fits
    ]
    better = found.better
    return {
        "dictionary": opened.name,
        "tokens": found.tokens,
        "predicted_tokens": found.predicted_tokens,
        "ce_clean": found.ce_clean,
        "fits": fits,
        "fits_model": found.fits_model,
        "better": None if better is None else to_text(better.point),
    }


def fit_lines(
    opened: Dictionary, model: LanguageModel, texts: str, found: DictionaryFit, width: int
) -> list[Text]:
    """The screen of `check`."""
    body = max(NARROWEST, min(width, WIDEST)) - HEADING
    parts = [opened.format, opened.architecture, f"{count(opened.n_features)} features"]
    if opened.is_transcoder:
        parts.append(f"transcoder, reads {opened.hook_point}, measured at {opened.writes}")
    lines = section("dictionary", labelled(one_line(opened.name), joined(parts, body - LABEL), body))
    measured = (
        f"{count(found.tokens)} tokens of {texts} · cross-entropy (CE) {fixed(found.ce_clean)} nats a token"
    )
    lines += section("model", labelled(one_line(model.name), joined([measured], body - LABEL), body))
    shown = sorted(
        found.fits, key=lambda fit: (fit.point.layer + (fit.point.site == "resid_post"), fit.point)
    )
    label = max(LABEL, *(len(str(fit.point)) + len(_NAMED) for fit in shown))
    headers = [Text(" " * label + _cells(words)) for words in _HEADERS]
    rows = [_fit_row(fit, label, named=fit is found.named) for fit in shown]
    lines += section("fit", [*headers, *rows, Text(f"{_NAMED.strip()} the place that it names", style="dim")])
    return lines + section("verdict", [Text(each) for each in joined(verdict_parts(found), body)])


def verdict_parts(found: DictionaryFit) -> list[str]:
    """What the numbers say, in words."""
    named, better = found.named, found.better
    if better is not None:
        said = f"it names {named.point} and fits {better.point} better: FVU {fixed(better.fvu)}"
        return [
            f"{said} against {fixed(named.fvu)}",
            f"{_what_is_off(named, better)}; read it with {_options(better)}",
        ]
    if not named.fvu < 1:
        return [
            f"it does not fit this model at {named.point}: FVU {fixed(named.fvu)}",
            "1 is what the mean alone gives",
        ]
    return [f"it fits at {named.point}, and no neighbour better"]


def _options(fit: Fit) -> str:
    given = {"--hook-point": fit.point, "--output-point": fit.output_point}
    return " ".join(f"{name} {to_text(point)}" for name, point in given.items() if point)


def _what_is_off(named: Fit, better: Fit) -> str:
    first, second = (fit.point.layer + (fit.point.site == "resid_post") for fit in (named, better))
    if first == second:
        return "on the wrong side of the norm's gain"
    return "off by one" if abs(first - second) == 1 else f"{abs(first - second)} layers off"


def _fit_row(fit: Fit, label: int, *, named: bool) -> Text:
    numbers = (
        fixed(fit.fvu),
        fixed(fit.l0, 1),
        level(fit.dead_share, "share"),
        level(fit.loss_recovered, "share"),
        fixed(fit.ce_spliced),
        fixed(fit.ce_zero),
    )
    return Text(f"{fit.point}{_NAMED if named else ''}".ljust(label) + _cells(numbers))


def _cells(texts: Sequence[str]) -> str:
    return "".join(text.rjust(width) for text, width in zip(texts, _WIDTHS, strict=True))


def _encoder(opened: Dictionary) -> list[str]:
    parts = ["reads x − b_dec" if opened.subtract_b_dec else "reads x"]
    if opened.normalization != "none":
        parts.append(f"after {opened.normalization.replace('_', ' ')}")
    if opened.k is not None:
        parts.append(f"k = {opened.k}")
    if opened.gain is not None or opened.decoder_gain is not None:
        parts.append("with rescalings folded in")
    if opened.is_transcoder:
        parts.append("transcoder" + (" with skip" if opened.W_skip is not None else ""))
    return parts


def _file(facts: dict[str, Any]) -> list[str]:
    if facts["file"] is None:
        return ["none"]
    return [facts["file"], size(facts["bytes"]), "mapped" if facts["mapped"] else "in memory"]


def _notes(opened: Dictionary) -> list[str]:
    loaded = table(opened.metadata.get("model_from_pretrained_kwargs"))
    changed = [key for key in _NOTED if loaded.get(key)]
    return [
        f"it was trained on a model loaded with {key}: raw activations differ from what it learnt"
        for key in changed
    ]


def _metrics(opened: Dictionary) -> dict[str, float]:
    """What the trainer wrote beside the weights, where it is the one of this house."""
    path = None if opened.file is None else opened.file.parent / "metrics.json"
    if path is None or not path.is_file():
        return {}
    held = read_config(path, opened.name)
    return {name: float(held[name]) for name in _METRICS if isinstance(held.get(name), (int, float))}


def _said(metrics: dict[str, float]) -> list[str]:
    digits = {"fvu": 3, "l0": 1}
    return [
        f"{_METRICS[name]} {fixed(value, digits[name]) if name in digits else level(value, 'share')}"
        for name, value in metrics.items()
    ]


def _row(label: str, text: str) -> list[Text]:
    return labelled(label, joined(text.split(" · "), WIDEST - HEADING - LABEL), WIDEST - HEADING)
