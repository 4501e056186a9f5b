"""docs/families.md: every model type with its writers and the proof of its table, made by running it."""

from __future__ import annotations

from collections.abc import Iterator

from surgery.model.families import FAMILIES, FILES
from surgery.model.families.table import Family, WriterRow
from surgery.model.families.trials import TRIALS
from surgery.model.families.unsupported import UNSUPPORTED

_HEAD = """# Families

Made by `python -m surgery anatomy --table > docs/families.md`; do not edit by hand.

Each row is a `model_type` of config.json. *Writers* are names on disk with the residual axis behind the
colon; `{layer}` and `{expert}` stand for numbers; "+ bias" says that a bias beside the matrix is a writer too
(where the config has one). *Between* is what stands between a writer and the residual stream. *Proof* is the
largest component along a random direction, relative to the stream's length, at any block's input or output,
after every writer of a tiny random twin was edited by the editor itself: the worst over the trials, in which
the settings under *Varied* differ from the defaults (exact means at most 1e-5; before the edit it is some
tenths). The tables are in `surgery/model/families/`, the trials in `trials.py` there.

Layers behind the last one that only draft tokens (multi-token prediction) are copied unedited: they read the
finished stream and do not feed it. Weights that are quantised on disk are refused.

"""


def families_page() -> str:
    """The page as Markdown. Runs every proof, about half a minute.

    Raises:
        AnatomyError: a twin cannot be built or classified.
    """
    rows = [_row(model_type, FAMILIES[model_type]) for model_type in sorted(FAMILIES)]
    return "".join([_HEAD, *_table(rows), *_missing()])


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield f"## Proved ({len(rows)})\n\n"
    yield "| model type | table | writers | between | proof | trials | varied |\n"
    yield "|---|---|---|---|---|---|---|\n"
    for row in rows:
        yield f"| {' | '.join(row)} |\n"


def _missing() -> Iterator[str]:
    yield f"\n## Not supported ({len(UNSUPPORTED)})\n\nRefused by name, with the reason.\n\n"
    reasons: dict[str, list[str]] = {}
    for model_type, reason in UNSUPPORTED.items():
        reasons.setdefault(reason, []).append(model_type)
    for reason, names in reasons.items():
        yield f"- {', '.join(f'`{name}`' for name in sorted(names))}: {reason}.\n"


def _row(model_type: str, family: Family) -> tuple[str, ...]:
    from surgery.edit.proof import prove

    trials = TRIALS[model_type]
    proofs = [prove({"model_type": model_type, **trial}) for trial in trials]
    worst = max(proof.max_component for proof in proofs)
    verdict = f"{worst:.1e}" if all(proof.exact for proof in proofs) else f"{worst:.1e}, NOT exact"
    varied = dict.fromkeys(setting for trial in trials for setting in trial)
    return (
        f"`{model_type}`",
        f"{FILES[model_type]}.py",
        "<br>".join(_writers(family)),
        "<br>".join(_between(family)) or "nothing",
        verdict,
        str(len(trials)),
        ", ".join(varied) or "–",
    )


def _writers(family: Family) -> Iterator[str]:
    biased = {_stem(row) for row in family.writers if row.bias}
    matrices = {_stem(row) for row in family.writers if not row.bias}
    for row in (*family.writers, *family.outside):
        if not row.bias or _stem(row) not in matrices:
            tail = " + bias" if not row.bias and _stem(row) in biased else ""
            yield f"`{row.pattern}`:{row.residual_axis}{tail}"


def _stem(row: WriterRow) -> str:
    return row.pattern.removesuffix(".weight").removesuffix(".bias").removesuffix("_bias")


def _between(family: Family) -> Iterator[str]:
    for gain in dict.fromkeys(row.gain for row in family.writers if row.gain is not None):
        factor = "weight" if gain.offset == 0 else f"{gain.offset:g} + weight"
        where = f" where {gain.flag}" if gain.flag else ""
        yield f"RMSNorm `{gain.tensor.split('.')[-2]}`, gain {factor}{where}"
