"""One model measured on the recipe's suites: records now, comparisons later.

The base model is measured first and once; its replies and next-token distributions are what the drift of
every other side is measured from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from surgery.errors import VerifyError
from surgery.model.language_model import LanguageModel
from surgery.model.prompts import PromptSet
from surgery.recipe.section import PromptSource
from surgery.recipe.verifying import RefusalSuite, Verify
from surgery.verify.choice import examples_for, measure_choice, read_questions
from surgery.verify.drift import DriftReference, measure_drift, measure_reference
from surgery.verify.perplexity import measure_perplexity
from surgery.verify.preference import measure_preference, read_pairs
from surgery.verify.progress import Progress, silent
from surgery.verify.records import Record, prompt_hash
from surgery.verify.refusal import measure_refusal

SUITES = ("refusal", "overrefusal", "choice", "drift", "perplexity", "preference")
"""In the order in which they are measured and shown."""

_SOURCE_FIELDS = {"choice": "questions", "perplexity": "texts", "preference": "pairs"}


@dataclass(frozen=True)
class Suites:
    """The suites of a recipe with their items; false where there are none."""

    verify: Verify
    prompts: Mapping[str, PromptSet]
    examples: PromptSet | None = None

    def __bool__(self) -> bool:
        return bool(self.prompts)


@dataclass(frozen=True)
class Measurement:
    """What one side did: records, the texts it was asked (by sha256), the base's distributions."""

    side: str
    records: tuple[Record, ...]
    prompts: Mapping[str, str]
    drift: DriftReference | None = None

    @property
    def suites(self) -> tuple[str, ...]:
        """The suites that were measured, in order."""
        return tuple(dict.fromkeys(record.suite for record in self.records))


def load_suites(verify: Verify, read: Callable[[PromptSource], PromptSet]) -> Suites:
    """Read every suite's items, and check that they can be asked, before any model runs.

    Raises:
        VerifyError: a set is empty, repeats an id, or an item lacks what its suite needs.
        SourceError: from `read`.
    """
    named = [(name, getattr(verify, name)) for name in SUITES if getattr(verify, name) is not None]
    prompts = {name: read(getattr(suite, _SOURCE_FIELDS.get(name, "prompts"))) for name, suite in named}
    for name, items in prompts.items():
        _check_ids(name, items)
    source = verify.choice.examples if verify.choice is not None else None
    examples = read(source) if source is not None else None
    if verify.choice is not None:
        _check_choice(prompts["choice"], examples, verify.choice.shots)
    if "preference" in prompts:
        read_pairs(prompts["preference"])
    return Suites(verify, prompts, examples)


def measure(
    model: LanguageModel,
    suites: Suites,
    *,
    side: str,
    reference: Measurement | None = None,
    only: frozenset[str] | None = None,
    progress: Progress | None = None,
) -> Measurement:
    """Measure one model on every suite.

    Args:
        side: `base`, `edited`, or the name of a control.
        reference: the base model's measurement, whose distributions drift is measured from; None for the
            base itself.
        only: measure only these suites.

    Raises:
        VerifyError: a suite cannot be measured on this model, or the reference was measured without drift.
    """
    chosen = {name: each for name, each in suites.prompts.items() if only is None or name in only}
    follow = progress or silent
    records: list[Record] = []
    drift: DriftReference | None = None
    for name, prompts in chosen.items():
        if name == "drift" and reference is None:
            rows, drift = measure_reference(
                model, prompts, side=side, n_tokens=_drift_tokens(suites), progress=_named(follow, side, name)
            )
        else:
            rows = _measure_suite(model, suites, name, side, reference, _named(follow, side, name))
        records.extend(rows)
    return Measurement(side, tuple(records), _texts(chosen.values()), drift)


def _measure_suite(
    model: LanguageModel,
    suites: Suites,
    name: str,
    side: str,
    reference: Measurement | None,
    progress: Progress,
) -> tuple[Record, ...]:
    prompts, verify = suites.prompts[name], suites.verify
    if name == "choice" and verify.choice is not None:
        return measure_choice(
            model, prompts, side=side, examples=suites.examples, shots=verify.choice.shots, progress=progress
        )
    if name == "drift":
        if reference is None or reference.drift is None:
            raise VerifyError(
                "drift: the base model was measured without the drift suite. Measure it with it first"
            )
        return measure_drift(model, prompts, side=side, reference=reference.drift, progress=progress)
    if name == "perplexity":
        return measure_perplexity(model, prompts, side=side, progress=progress)
    if name == "preference":
        return measure_preference(model, prompts, side=side, progress=progress)
    suite: RefusalSuite = getattr(verify, name)
    return measure_refusal(
        model, prompts, side=side, max_new_tokens=suite.max_new_tokens, suite=name, progress=progress
    )


def _drift_tokens(suites: Suites) -> int:
    return 1 if suites.verify.drift is None else suites.verify.drift.tokens


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


def _check_choice(prompts: PromptSet, examples: PromptSet | None, shots: int) -> None:
    questions = read_questions(prompts)
    pool = read_questions(examples) if examples is not None else ()
    for question in questions:
        examples_for(question, pool, shots)
