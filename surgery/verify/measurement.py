"""One model measured on the recipe's suites: records now, comparisons later.

The base model is measured first and once; its replies and next-token distributions are what the drift of
every other side is measured from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from surgery.errors import VerifyError
from surgery.model.language_model import LanguageModel
from surgery.model.prompts import PromptSet
from surgery.recipe.section import PromptSource, Section
from surgery.recipe.verifying import Verify
from surgery.verify.progress import Progress, silent
from surgery.verify.records import Record, prompt_hash
from surgery.verify.suite import Asked, Turn, items_of
from surgery.verify.suites import SUITES


@dataclass(frozen=True)
class Measurement:
    """What one side did: records, the texts it was asked (by sha256), what suites kept for other sides."""

    side: str
    records: tuple[Record, ...]
    prompts: Mapping[str, str]
    kept: Mapping[str, Any] = field(default_factory=dict)

    @property
    def suites(self) -> tuple[str, ...]:
        """The suites that were measured, in order."""
        return tuple(dict.fromkeys(record.suite for record in self.records))


def load_suites(verify: Verify, read: Callable[[PromptSource], PromptSet]) -> tuple[Asked, ...]:
    """Read every suite's items, and check that they can be asked, before any model runs.

    Raises:
        VerifyError: a set is empty, repeats an id, or an item lacks what its suite needs.
        SourceError: from `read`.
    """
    sections = [(name, getattr(verify, name)) for name in SUITES if getattr(verify, name) is not None]
    return tuple(_load(name, section, read) for name, section in sections)


def _load(name: str, section: Section, read: Callable[[PromptSource], PromptSet]) -> Asked:
    examples = getattr(section, "examples", None)
    asked = Asked(name, section, read(items_of(section)), None if examples is None else read(examples))
    _check_ids(name, asked.prompts)
    SUITES[name].check(asked)
    return asked


def measure(
    model: LanguageModel,
    suites: Sequence[Asked],
    *,
    side: str,
    reference: Measurement | None = None,
    progress: Progress | None = None,
) -> Measurement:
    """Measure one model on suites.

    Args:
        side: `base`, `edited`, or the name of a control.
        reference: the base model's measurement, which drift is measured from; None for the base itself.

    Raises:
        VerifyError: a suite cannot be measured on this model, or the reference was not measured on it.
    """
    records: list[Record] = []
    kept: dict[str, Any] = {}
    for asked in suites:
        name = asked.name
        if reference is not None and name not in reference.suites:
            raise VerifyError(f"{name}: the base model was not measured on it. Measure it there first")
        of_base = None if reference is None else reference.kept.get(name)
        turn = Turn(side, _named(progress or silent, side, name), of_base)
        rows, kept[name] = SUITES[name].measure(model, asked, turn)
        records.extend(rows)
    return Measurement(side, tuple(records), _texts(asked.prompts for asked in suites), kept)


def _named(progress: Progress, side: str, suite: str) -> Progress:
    return lambda done, total, what: progress(done, total, f"{side}, {suite}: {what}")


def _texts(sets: Iterable[PromptSet]) -> dict[str, str]:
    return {prompt_hash(item): item.prompt for prompts in sets for item in prompts.items}


def _check_ids(suite: str, prompts: PromptSet) -> None:
    if not prompts.items:
        raise VerifyError(f"verify.{suite}: {prompts.name} holds no items")
    ids = Counter(item.id for item in prompts.items)
    repeated, times = ids.most_common(1)[0]
    if times > 1:
        raise VerifyError(
            f"verify.{suite}: {prompts.name} has two items with the id {repeated!r}; give each its own"
        )
