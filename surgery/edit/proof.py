"""Proof that a family's table is complete: remove a random direction from its twin and look for it in the
stream.

The twin of the model's own config is planned and edited by the very executor, loaded by transformers and run.
At every block's input and output, the last one before the final norm, the component along the removed
directions is compared with the length of what is there:

    max over positions of |r·h| / mean over positions of ‖h‖

One writer missed, one axis or one gain wrong, and the number is of order 0.1 instead of 1e-7.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from surgery.checkpoint.layout import Checkpoint, open_checkpoint
from surgery.checkpoint.tensor import read_tensor
from surgery.edit.executor import execute
from surgery.edit.plan import make_plan
from surgery.edit.untying import Untying
from surgery.errors import OutputError
from surgery.model.anatomy import Anatomy, read_anatomy
from surgery.model.families import TOWERS
from surgery.model.interventions import at_input, at_output
from surgery.model.loading import auto_class, quiet_transformers
from surgery.model.sites import find_blocks
from surgery.model.twin import build_twin
from surgery.model.twin_inputs import alone, image_features, twin_inputs
from surgery.recipe.editing import Ablate

Array = npt.NDArray[np.float64]

BOUND = 1e-5
_VISIBLE = 1e-3


@dataclass(frozen=True)
class Proof:
    """`max_component` is the largest relative component after the edit, `base_component` before it.
    `unproved` are kinds of writers of the model that its twin does not have. `approximate` says why no edit
    of this family's writers is exact, where none is; `max_component` is then the leak that is left. `failed`
    says why no twin could be measured; the components are then NaN.
    """

    exact: bool
    max_component: float
    base_component: float
    n_hook_points: int
    family: str
    unproved: tuple[str, ...] = ()
    approximate: str | None = None
    n_image_features: int = 0
    failed: str | None = None


@dataclass(frozen=True)
class StreamReading:
    """The largest relative component over `n_hook_points` hook points, `n_image_features` of which are what
    an image puts into the stream.
    """

    max_component: float
    n_hook_points: int
    n_image_features: int = 0


def prove(
    config: Mapping[str, Any],
    *,
    seed: int = 0,
    rank: int = 1,
    model: Anatomy | None = None,
    untie: bool = False,
) -> Proof:
    """Edit the twin of a config.json with every writer at strength 1 and measure its stream.

    Args:
        config: the content of the model's config.json.
        seed: of the twin's weights, the directions and the tokens.
        rank: how many random directions are removed together.
        model: the anatomy of the model itself; it is then exact only if its twin has every kind of writer
            that it has.
        untie: whether a tied embedding gets an unembedding of its own, which must then load as it was.

    Raises:
        AnatomyError: the twin cannot be built, or its tensors are not all classified.
        OutputError: the temporary folder takes no twin.
    """
    with _scratch() as scratch:
        source, target = scratch / "twin", scratch / "edited"
        base = open_checkpoint(build_twin(config, source, seed=seed))
        anatomy = read_anatomy(base.config, base.shapes)
        directions = np.random.default_rng(seed).standard_normal((rank, anatomy.d_model))
        vectors = {f"random {index}": row for index, row in enumerate(directions)}
        steps = [Ablate(ablate=name) for name in vectors]
        target.mkdir()
        plan = make_plan(base, anatomy, steps, vectors, tied="untie" if untie else "accept")
        execute(plan, base, target, hashes=False)
        before, after = (read_stream(folder, directions, seed=seed) for folder in (source, target))
        untied = plan.untying is None or _unembeds_as_before(base, target, plan.untying)
    unproved = () if model is None else tuple(sorted(writer_kinds(model) - writer_kinds(anatomy)))
    if not untied:
        unproved += ("unembedding of its own that transformers would load",)
    if not after.n_image_features:
        unproved += tuple(writer.tensor for writer in anatomy.writers if writer.beside)
    exact = after.max_component <= BOUND and before.max_component > _VISIBLE and not unproved
    return Proof(
        exact and anatomy.approximate is None,
        after.max_component,
        before.max_component,
        after.n_hook_points,
        anatomy.family,
        unproved,
        anatomy.approximate,
        after.n_image_features,
    )


@contextmanager
def _scratch() -> Iterator[Path]:
    """A temporary folder for a twin."""
    from safetensors import SafetensorError

    try:
        with tempfile.TemporaryDirectory(prefix="surgery-twin-") as scratch:
            yield Path(scratch)
    except (OSError, SafetensorError) as error:
        place = getattr(error, "filename", None) or tempfile.gettempdir()
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"{place}: the twin cannot be written ({reason}); free some space or set TMPDIR to another folder"
        ) from error


def failed_proof(family: str, reason: str) -> Proof:
    """The proof of a model whose twin could not be measured."""
    return Proof(False, float("nan"), float("nan"), 0, family, failed=reason)


def doubt(proof: Proof) -> str | None:
    """Why a proof does not show that the edit is exact, and the leak where one was measured; None where it
    does.
    """
    if proof.exact:
        return None
    if proof.failed is not None:
        return f"no twin of this model could be measured, so no leak is known ({proof.failed})"
    if proof.unproved:
        return (
            f"the twin of this model has no {', '.join(proof.unproved)}, so the edit of those writers could"
            f" not be proved exact; elsewhere {proof.max_component:.1e} of a random direction is left"
        )
    if proof.approximate is not None:
        return (
            f"no edit of its writers is exact, since {proof.approximate}; on the twin of this model"
            f" {proof.max_component:.1e} of a random direction is left after the edit"
        )
    return (
        f"after the edit the twin of this model still carries {proof.max_component:.1e} of a random"
        " direction, so the table of its writers is incomplete; the edit would not be exact"
    )


def writer_kinds(anatomy: Anatomy) -> frozenset[str]:
    """Names of the writers with a star for each number, from their layer on; of one without a layer that is
    not also the unembedding the end of its name.
    """
    kinds: set[str] = set()
    for writer in anatomy.writers:
        parts = writer.tensor.split(".")
        if writer.layer is not None:
            inside = parts[parts.index(str(writer.layer)) + 1 :]
        else:
            inside = [] if writer.tied else parts[-2:]
        kinds.add(".".join("*" if part.isdigit() else part for part in inside))
    return frozenset(kinds - {""})


def read_stream(folder: Path, directions: Array, *, seed: int) -> StreamReading:
    """Run a model of twin's size on random tokens and measure its stream along directions (rank, d_model) of
    any length.
    """
    import torch

    config = open_checkpoint(folder).config
    tower = TOWERS.get(str(config.get("model_type")))
    ends = () if tower is None else tower.alone
    units = torch.from_numpy(directions / np.linalg.norm(directions, axis=1, keepdims=True))
    ratios: list[float] = []

    def look(hidden: Any) -> Any:
        stream = hidden.detach().double().unflatten(-1, (-1, units.shape[1]))  # several may lie side by side
        ratios.append(float((stream @ units.T).abs().max() / stream.norm(dim=-1).mean()))
        return hidden

    with quiet_transformers(), torch.no_grad(), ExitStack() as stack:
        network = auto_class(config).from_pretrained(folder, dtype=torch.float32).eval()
        for block in find_blocks(network):
            for module in (block.module, *block.copies):
                stack.enter_context(at_input(module, look))
            stack.enter_context(at_output(block.module, look))
        inputs = twin_inputs(network, seed)
        network(**inputs, use_cache=False)
        features = image_features(network, seed) + alone(network, ends, seed)
    for each in features:
        look(each)
    seen = len(features) + ("pixel_values" in inputs)
    return StreamReading(max(ratios), len(ratios), seen)


def _unembeds_as_before(base: Checkpoint, folder: Path, untying: Untying) -> bool:
    """Whether transformers gives an untied result the unembedding that the base had."""
    import torch

    with quiet_transformers():
        kind = auto_class(open_checkpoint(folder).config)
        head = kind.from_pretrained(folder, dtype=torch.float32).get_output_embeddings()
    return head is not None and torch.equal(head.weight, read_tensor(base, untying.embedding))
