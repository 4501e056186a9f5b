"""A recipe from its first line to its last: find, plan, prove, write, read back, measure, report.

    recipe ─ load ─► prepare ─► write ─► verify ─► report
                     │ find the directions      │ base and edited, same items
                     │ plan the edit            │ random directions beside them
                     │ prove it on the twin     │ gates

Nothing is visible under the output's name until all of it is there. A run that is killed or interrupted while
it writes or measures a checkpoint leaves an unfinished folder beside that name; the same run with `resume`
finds its directions once more, and where they and the source are the same it keeps every byte that stands.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from surgery.artefacts import Written, hold_to_lock, resolved, write_artefacts
from surgery.checkpoint.folder import new_folder
from surgery.checkpoint.journal import Journal
from surgery.checkpoint.layout import open_checkpoint
from surgery.checkpoint.staging import check_startable, resumable_folder
from surgery.edit.audit import audit
from surgery.edit.executor import execute
from surgery.edit.identity import check_unchanged, source_signs, work_identity
from surgery.edit.runtime import random_directions, running
from surgery.errors import EditError
from surgery.export.check import check_adapter
from surgery.export.peft import make_adapter, write_adapter
from surgery.model.language_model import LanguageModel
from surgery.preparation import Observer, Prepared, Silent, load_model, prepare, remembering
from surgery.recipe import LoadedRecipe, load_recipe
from surgery.recipe.finding import FindDifferenceOfMeans
from surgery.report.numbers import count
from surgery.report.report import Report
from surgery.verify.measurement import Measurement, measure
from surgery.verify.suites import SUITES
from surgery.verify.verification import Verification, compare

_PROBLEMS_SHOWN = 8


def apply(
    recipe: str | Path | LoadedRecipe,
    *,
    overrides: Sequence[str] = (),
    observer: Observer | None = None,
    resume: bool = False,
) -> Report:
    """Run a recipe and return its report; the result stands in the recipe's output folder.

    Args:
        recipe: path of a recipe or lock file, or one already loaded.
        overrides: `path=value` pairs, as `--set` takes them.
        observer: who watches.
        resume: go on with what an interrupted run of the same output left; where there is none, begin.

    Raises:
        SurgeryError: some member of the family in `surgery.errors`; nothing is left under the output's name.
    """
    started = time.monotonic()
    observer = observer or Silent()
    loaded = recipe if isinstance(recipe, LoadedRecipe) else load_recipe(recipe, overrides=overrides)
    target = loaded.target
    check_startable(target, resume=resume)
    prepared = prepare(loaded, observer)
    signs = source_signs(prepared.checkpoint)
    names = resolved(prepared)
    hold_to_lock(prepared, names)
    with _output(prepared, target, names["model"]["files"], resume=resume) as (staging, journal):
        written = write_result(prepared, staging, observer, journal=journal)
        check_unchanged(prepared.checkpoint, signs)
        verification = verify_result(prepared, written, observer)
        seconds = time.monotonic() - started
        return write_artefacts(prepared, written, verification, names=names, seconds=seconds)


@contextmanager
def _output(
    prepared: Prepared, target: Path, source_sums: dict[str, str], *, resume: bool
) -> Iterator[tuple[Path, Journal | None]]:
    """The folder that the result is written into; an adapter is small and always begun anew."""
    if prepared.recipe.output.form == "peft":
        with new_folder(target, needed_bytes=0) as folder:
            yield folder, None
        return
    identity = work_identity(prepared.plan, prepared.checkpoint, source_sums)
    with resumable_folder(
        target, needed_bytes=prepared.plan.total_bytes, identity=identity, resume=resume
    ) as staging:
        yield staging.folder, staging.journal


def write_result(
    prepared: Prepared, staging: Path, observer: Observer, *, journal: Journal | None = None
) -> Written:
    """Write the checkpoint or the adapter, and read it back."""
    if prepared.recipe.output.form == "peft":
        return _write_adapter(prepared, staging)
    plan, source = prepared.plan, prepared.checkpoint

    def follow(done: int, total: int) -> None:
        observer.advance(done, total, "bytes")

    sums = execute(plan, source, staging, progress=follow, journal=journal)
    found = audit(plan, source, open_checkpoint(staging))
    if found.problems:
        raise EditError(_unplanned(found.problems))
    return Written(staging, found, None, sums)


def _write_adapter(prepared: Prepared, staging: Path) -> Written:
    recipe = prepared.recipe
    adapter = make_adapter(
        prepared.plan,
        prepared.additions,
        prepared.checkpoint,
        prepared.anatomy,
        base=recipe.model.source,
    )
    write_adapter(adapter, staging)
    loaded = _load_result(prepared, staging)
    check = check_adapter(prepared.model, loaded, recipe.edit.steps, prepared.directions)
    return Written(staging, None, check, {})


def _unplanned(problems: Sequence[str]) -> str:
    more = f"\n  and {len(problems) - _PROBLEMS_SHOWN} more" if len(problems) > _PROBLEMS_SHOWN else ""
    listed = "\n  ".join(problems[:_PROBLEMS_SHOWN])
    return (
        f"the written checkpoint is not what was planned, and was not kept:\n  {listed}{more}\n"
        "A NaN or an infinity comes of a strength that the stored type cannot hold: lower it. All else"
        " comes of a source that changed meanwhile, or is a fault of the disk, or of this tool"
    )


def verify_result(prepared: Prepared, written: Written, observer: Observer) -> Verification | None:
    """Measure base, edited result and controls on the same items, and hold them to the gates."""
    recipe = prepared.recipe
    observer.stage("verify")
    suites = prepared.suites
    if not suites:
        return None
    base = measure(prepared.model, suites, side="base", progress=observer.advance)
    edited = measure(
        _load_result(prepared, written.folder),
        suites,
        side="edited",
        reference=base,
        progress=observer.advance,
    )
    controls = _measure_controls(prepared, base, observer)
    found = compare(base, edited, controls, recipe.verify, seed=recipe.seed)
    return replace(found, notes=(*_asked_before(prepared), *found.notes))


def _asked_before(prepared: Prepared) -> Iterator[str]:
    """Which suites ask what a direction was found from: a number that says little of other prompts."""
    read = remembering(prepared.loaded, {})
    searched = {
        prompt
        for wanted in prepared.recipe.direction.values()
        if isinstance(wanted, FindDifferenceOfMeans)
        for source in (wanted.positive, wanted.negative)
        for prompt in read(source).prompts
    }
    for asked in prepared.suites:
        same = sum(prompt in searched for prompt in asked.prompts.prompts)
        if same:
            yield (
                f"{asked.name}: {count(same)} of {count(len(asked.prompts.prompts))} items stand also in the"
                " sets that a direction is found from, which flatters it: measure on others"
            )


def _measure_controls(prepared: Prepared, base: Measurement, observer: Observer) -> list[Measurement]:
    """The same steps as hooks in the base model, with random directions and with the unreconstructed ones."""
    recipe, model = prepared.recipe, prepared.model
    suites = [asked for asked in prepared.suites if SUITES[asked.name].controlled] or [
        asked for asked in prepared.suites if SUITES[asked.name].behaviour
    ]
    others = {
        "random direction" if number == 0 else f"random direction {number + 1}": random_directions(
            prepared.directions, recipe.seed + number
        )
        for number in range(recipe.verify.control)
    }
    if any(finding.reconstruction is not None for finding in prepared.findings):
        others["original direction"] = {finding.name: finding.original for finding in prepared.findings}
    measured = []
    for side, directions in others.items():
        with running(model, recipe.edit.steps, directions):
            measured.append(measure(model, suites, side=side, reference=base, progress=observer.advance))
    return measured


def _load_result(prepared: Prepared, folder: Path) -> LanguageModel:
    source = prepared.recipe.model
    if prepared.recipe.output.form == "peft":
        return load_model(source, prepared.snapshot.folder, adapter=folder)
    return load_model(source, folder)
