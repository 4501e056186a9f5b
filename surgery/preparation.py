"""Everything that is known before the first byte is written: model, directions, plan, proof."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from surgery.checkpoint.layout import Checkpoint, open_checkpoint
from surgery.direction.direction import Direction
from surgery.direction.find import Finding, Sources, find_direction
from surgery.edit.addition import Addition, make_additions
from surgery.edit.plan import Plan, plan_edit
from surgery.edit.proof import Proof, doubt, failed_proof, prove
from surgery.errors import AnatomyError, DirectionError, SourceError
from surgery.hub import Snapshot
from surgery.model.anatomy import Anatomy, read_anatomy
from surgery.model.language_model import LanguageModel, chat_tokens, final_log_probs
from surgery.model.loading import load_language_model
from surgery.model.prompts import PromptSet
from surgery.model.source import locate_model, open_prompts
from surgery.recipe import LoadedRecipe
from surgery.recipe.editing import Ablate, Add
from surgery.recipe.schema import ModelSource, Recipe
from surgery.recipe.section import PromptSource
from surgery.verify.measurement import load_suites
from surgery.verify.suite import Asked

_ALLOW = ".\nTo edit it all the same, write `unproved: allow` under `edit`; plan, report and card then say so"

_BARE = (
    "the tokenizer has no chat template: the model reads every prompt as bare text, not as a request to it"
)


class Observer(Protocol):
    """Who watches a run: told which stage begins, and how far long work has come."""

    def stage(self, name: str) -> None: ...

    def advance(self, done: int, total: int, what: str) -> None: ...


class Silent:
    """An observer that shows nothing."""

    def stage(self, name: str) -> None: ...

    def advance(self, done: int, total: int, what: str) -> None: ...


class ModelOnDemand:
    """A recipe's model, loaded when it is first called for: an edit along stored directions with nothing to
    verify needs none, only the headers of the weight files. `loaded` is None until then.
    """

    def __init__(self, source: ModelSource, folder: Path) -> None:
        self._source, self._folder = source, folder
        self.loaded: LanguageModel | None = None

    def __call__(self) -> LanguageModel:
        """The model.

        Raises:
            SourceError: it cannot be loaded, or computes no numbers.
        """
        if self.loaded is None:
            model = load_model(self._source, self._folder, name=self._source.source)
            if model.takes_prompts:
                _check_numbers(model)
            self.loaded = model
        return self.loaded


@dataclass(frozen=True)
class Prepared:
    """All that is known before the first byte is written."""

    loaded: LoadedRecipe
    snapshot: Snapshot
    checkpoint: Checkpoint
    anatomy: Anatomy
    load_model: ModelOnDemand
    prompts: dict[str, PromptSet]
    suites: tuple[Asked, ...]
    findings: tuple[Finding, ...]
    plan: Plan
    additions: tuple[Addition, ...]
    proof: Proof | None

    @property
    def recipe(self) -> Recipe:
        return self.loaded.recipe

    @property
    def model(self) -> LanguageModel:
        return self.load_model()

    @property
    def directions(self) -> dict[str, Direction]:
        return {finding.name: finding.direction for finding in self.findings}


def prepare(loaded: LoadedRecipe, observer: Observer) -> Prepared:
    """Find the directions, plan the edit, and prove the anatomy it rests on."""
    recipe = loaded.recipe
    observer.stage("model")
    prompts: dict[str, PromptSet] = {}
    read = remembering(loaded, prompts)
    suites = load_suites(recipe.verify, read)
    snapshot = locate_model(recipe.model.source, revision=recipe.model.revision)
    checkpoint = open_checkpoint(snapshot.folder)
    anatomy = read_anatomy(checkpoint.config, checkpoint.shapes)
    model = ModelOnDemand(recipe.model, snapshot.folder)
    observer.stage("direction")
    sources = Sources(prompts=read, resolve=loaded.resolve)
    try:
        findings = _find(loaded, model, anatomy.d_model, sources, observer)
    except DirectionError as error:
        if _is_bare(model, prompts):
            raise DirectionError(f"{error}.\nBeside that, {_BARE}") from error
        raise
    observer.stage("edit")
    directions = {finding.name: finding.direction for finding in findings}
    vectors = {name: direction.vector for name, direction in directions.items()}
    plan = plan_edit(checkpoint, anatomy, recipe.edit, vectors)
    added = [step for step in recipe.edit.steps if isinstance(step, Add)]
    additions = make_additions(added, directions, anatomy.n_layers)
    proof = None
    if any(isinstance(step, Ablate) for step in recipe.edit.steps):
        proof = _proved(checkpoint, anatomy, recipe)
        plan = _with_doubt(plan, proof)
    if _is_bare(model, prompts):
        plan = replace(plan, notes=(*plan.notes, _BARE))
    return Prepared(
        loaded, snapshot, checkpoint, anatomy, model, prompts, suites, findings, plan, additions, proof
    )


def load_model(
    source: ModelSource, folder: Path, *, name: str | None = None, adapter: Path | None = None
) -> LanguageModel:
    """The model in a folder, or an adapter on it, as the recipe's `model` wants it run."""
    return load_language_model(
        folder,
        name=name,
        adapter=adapter,
        device=source.device,
        dtype=source.dtype,
        trust_remote_code=source.trust_remote_code,
    )


def _find(
    loaded: LoadedRecipe, model: ModelOnDemand, d_model: int, sources: Sources, observer: Observer
) -> tuple[Finding, ...]:
    """Every direction of the recipe."""

    def follow(done: int, total: int) -> None:
        observer.advance(done, total, "candidates")

    seed = loaded.recipe.seed
    return tuple(
        find_direction(name, wanted, model, sources, d_model=d_model, seed=seed, progress=follow)
        for name, wanted in loaded.recipe.direction.items()
    )


def _proved(checkpoint: Checkpoint, anatomy: Anatomy, recipe: Recipe) -> Proof:
    """The proof on the model's twin; one that fails ends the run unless the recipe allows it."""
    allow = recipe.edit.unproved == "allow"
    try:
        proof = prove(checkpoint.config, seed=recipe.seed, model=anatomy, untie=recipe.edit.tied == "untie")
    except AnatomyError as error:
        if not allow:
            raise
        proof = failed_proof(anatomy.family, str(error))
    reason = doubt(proof)
    if reason is not None and not allow:
        raise AnatomyError(f"{proof.family}: {reason}{_ALLOW}")
    return proof


def _check_numbers(model: LanguageModel) -> None:
    """Refuse a model that computes none: everything that is found or measured with it would mean nothing."""
    if not final_log_probs(model, [chat_tokens(model, "hello")]).isfinite().any():
        raise SourceError(
            f"{model.name}: answers NaN to a plain prompt. Either a weight is damaged (save or download the"
            " model again), or its dtype is too narrow for it (set model.dtype: float32)"
        )


def _is_bare(model: ModelOnDemand, prompts: Mapping[str, PromptSet]) -> bool:
    """Whether prompts are read by a model whose tokenizer puts nothing around them."""
    return bool(prompts) and model().tokenizer.chat_template is None


def _with_doubt(plan: Plan, proof: Proof) -> Plan:
    """The plan with a first note that says why it is not proved, where it is not."""
    reason = doubt(proof)
    return plan if reason is None else replace(plan, notes=(f"not proved: {reason}", *plan.notes))


def remembering(
    loaded: LoadedRecipe, opened: MutableMapping[str, PromptSet]
) -> Callable[[PromptSource], PromptSet]:
    """A reader of prompt sets that notes each set it opens, for the lock file."""

    def read(source: PromptSource) -> PromptSet:
        found = open_prompts(**source.model_dump(), resolve=loaded.resolve)
        opened[f"{source.source}/{source.file}" if source.file else source.source] = found
        return found

    return read
