"""docs/families.md: every model type with its writers and the proof of its table, made by running it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

from surgery.model.families import FAMILIES, FILES, TOWERS
from surgery.model.families.table import Family, Gain, WriterRow
from surgery.model.families.trials import TRIALS
from surgery.model.families.unsupported import UNSUPPORTED

if TYPE_CHECKING:
    from surgery.edit.proof import Proof

_HEAD = """# Families

Made by `python -m surgery anatomy --table > docs/families.md`; do not edit by hand.

Each row is a `model_type` of config.json. *Writers* are names on disk with the residual axis behind the
colon; `{layer}` and `{expert}` stand for numbers; "+ bias" says that a bias beside the matrix is a writer too
(where the config has one). *Between* is what stands between a writer and the residual stream. *Proof* is the
largest component along a random direction, relative to the stream's length, at any block's input or output,
after every writer of a tiny random twin was edited by the editor itself: the worst over the trials, in which
the settings under *Varied* differ from the defaults (exact means at most 1e-5; before the edit it is some
tenths). For a model that sees, what its projector puts into the stream for a random image is measured as
well; its row names the text tower's family. Of an encoder and a decoder the decoder's stream is meant. The
tables are in `surgery/model/families/`, the trials in `trials.py` there.

Layers behind the last one that only draft tokens (multi-token prediction) are copied unedited: they read the
finished stream and do not feed it. Of weights that are quantised on disk FP8 is edited; other formats are
refused.

"""
_COLUMNS = ("model type", "table", "writers", "between", "proof", "trials", "varied")
_APPROXIMATE = """
Something between a writer and what reads the stream is neither a scalar nor a norm behind the writer, so no
edit of the writers clears the stream. *Leak* is what is left where 0 would be exact, measured like the proof.
`surgery apply` refuses these unless the recipe says `unproved: allow` under `edit`.

"""
_NATURE = """
No edit of the writers clears their stream of one direction
([edits.md](edits.md#streams-that-cannot-be-cleared) says why).

"""
_Reason = TypeVar("_Reason")


def families_page() -> str:
    """The page as Markdown. Runs every proof, some minutes.

    Raises:
        AnatomyError: a twin cannot be built or classified.
    """
    exact: list[tuple[str, ...]] = []
    leaking: list[tuple[str, ...]] = []
    for model_type in sorted(TRIALS):
        proofs = _proofs(model_type)
        row = _row(model_type, proofs)
        reason = proofs[0].approximate
        (exact if reason is None else leaking).append(row if reason is None else (*row, reason))
    proved = f"## Proved exact ({len(exact)})\n\n"
    approximate = f"\n## Approximate ({len(leaking)})\n{_APPROXIMATE}"
    leak = tuple("leak" if name == "proof" else name for name in _COLUMNS)
    return "".join(
        [
            _HEAD,
            *_summary(),
            proved,
            *_table(_COLUMNS, exact),
            approximate,
            *_table((*leak, "why"), leaking),
            *_missing(),
        ]
    )


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    for row in rows:
        yield f"| {' | '.join(row)} |\n"


def _missing() -> Iterator[str]:
    yield f"\n## Refused ({len(UNSUPPORTED)})\n\nRefused by name, with the reason.\n\n"
    for refusal, names in _grouped(UNSUPPORTED).items():
        yield f"- {_names(names)}: {refusal.reason}. Instead, {refusal.instead}.\n"


def _summary() -> Iterator[str]:
    """What of transformers' two mappings is exact, what of the rest could be, and why the others cannot."""
    from transformers.models.auto import modeling_auto as auto

    mappings = {
        "causal language models": set(auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
        "text towers of models that see": set(auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES),
    }
    listed = set.union(*mappings.values())
    leaking = {name: family.approximate for name, family in FAMILIES.items() if family.approximate}
    refused = {name: refusal.reason for name, refusal in UNSUPPORTED.items() if refusal.nature}
    never = {name: reason for name, reason in {**leaking, **refused}.items() if name in listed}
    work = {name: refusal.reason for name, refusal in UNSUPPORTED.items() if name not in never}
    yield "| mapping of transformers | model types | exact | not by nature | exact of those that can be |\n"
    yield f"|{'---|' * 5}\n"
    for title, names in mappings.items():
        exact = len({name for name in names if name in TRIALS and name not in leaking})
        lost = len(names & never.keys())
        can = len(names) - lost
        yield f"| {title} | {len(names)} | {exact} | {lost} | {exact} of {can} ({exact / can:.1%}) |\n"
    yield f"\n## Not exact by nature ({len(never)})\n{_NATURE}"
    for reason, names_of in _grouped(never).items():
        yield f"- {_names(names_of)}: {reason}.\n"
    yield f"\n## Not here for other reasons ({len(work)})\n\n"
    for reason, names_of in _grouped(work).items():
        yield f"- {_names(names_of)}: {reason}.\n"
    yield "\n"


def _grouped(reasons: Mapping[str, _Reason]) -> dict[_Reason, list[str]]:
    """Model types by their reason."""
    groups: dict[_Reason, list[str]] = {}
    for name, reason in reasons.items():
        groups.setdefault(reason, []).append(name)
    return groups


def _names(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _proofs(model_type: str) -> list[Proof]:
    from surgery.edit.proof import prove

    return [prove({"model_type": model_type, **trial}) for trial in TRIALS[model_type]]


def _row(model_type: str, proofs: list[Proof]) -> tuple[str, ...]:
    worst = max(proof.max_component for proof in proofs)
    leaks = proofs[0].approximate is not None
    verdict = f"{worst:.1e}" if leaks or all(proof.exact for proof in proofs) else f"{worst:.1e}, NOT exact"
    trials = TRIALS[model_type]
    varied = dict.fromkeys(setting for trial in trials for setting in trial)
    text = _text_tower(model_type)
    tower = TOWERS.get(model_type)
    family = FAMILIES[text or model_type]
    beside = () if tower is None else tower.writers
    return (
        f"`{model_type}`",
        f"{FILES[model_type]}.py" + (f", `{text}`" if text else ""),
        "<br>".join([*(_writers(family) if text is None else ()), *_listed(beside)]) or "no others",
        "<br>".join(_between((*(family.writers if text is None else ()), *beside))) or "nothing",
        verdict,
        str(len(trials)),
        ", ".join(varied) or "–",
    )


def _text_tower(model_type: str) -> str | None:
    """The family of the text tower of a model that sees; None for one that does not."""
    if model_type not in TOWERS:
        return None
    from surgery.model.loading import quiet_transformers
    from surgery.model.twin_config import shrink

    with quiet_transformers():
        config = shrink({"model_type": model_type, **TRIALS[model_type][0]})
    text = config.get_text_config()
    return TOWERS[model_type].text if text is config else str(text.model_type)


def _writers(family: Family) -> Iterator[str]:
    yield from _listed((*family.writers, *family.outside))


def _listed(rows: tuple[WriterRow, ...]) -> Iterator[str]:
    biased = {_stem(row) for row in rows if row.bias}
    matrices = {_stem(row) for row in rows if not row.bias}
    for row in rows:
        if not row.bias or _stem(row) not in matrices:
            tail = " + bias" if not row.bias and _stem(row) in biased else ""
            yield f"`{row.pattern}`:{row.residual_axis}{tail}".replace("{model.|}", "")


def _stem(row: WriterRow) -> str:
    return row.pattern.removesuffix(".weight").removesuffix(".bias").removesuffix("_bias")


def _between(rows: tuple[WriterRow, ...]) -> Iterator[str]:
    gains = [row.gain for row in rows if row.gain is not None]
    yield from dict.fromkeys(", then ".join(_norm(each) for each in gain.chain()) for gain in gains)


def _norm(gain: Gain) -> str:
    factor = "weight" if gain.offset == 0 else f"{gain.offset:g} + weight"
    where = f" where {gain.flag}" if gain.flag else ""
    where += f" in {gain.layer_type} layers" if gain.layer_type else ""
    name = (
        gain.tensor.removesuffix(".weight").removesuffix(".conv1d").split(".")[-1].strip("{}").split("|")[0]
    )
    if gain.taps:
        return f"convolution over positions `{name}`, taps weight, its own {gain.offset:g} + weight"
    return f"{gain.kind} `{name}`, gain {factor}{where}"
