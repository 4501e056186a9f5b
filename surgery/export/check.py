"""An adapter read back and held against the run-time edit that it should equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from surgery.direction.direction import Direction
from surgery.edit.runtime import running
from surgery.errors import EditError
from surgery.model.language_model import LanguageModel, chat_tokens, final_log_probs
from surgery.recipe.editing import Ablate, Add

PROBES = ("What is this?", "How do I do that?", "Tell me more about it, please.", "1 + 1 =")
_TOLERANCE = 1e-3
"""Of the effect of the edit itself; a wrong scale or a missing bias is off by the whole effect."""


@dataclass(frozen=True)
class AdapterCheck:
    """Largest differences of a next-token log-probability, in nats, over `PROBES`."""

    error: float
    """Adapter against hooks."""
    effect: float
    """Hooks against the base model."""


def check_adapter(
    base: LanguageModel,
    adapted: LanguageModel,
    steps: Sequence[Ablate | Add],
    directions: Mapping[str, Direction],
) -> AdapterCheck:
    """Compare an adapter, loaded by stock PEFT, with the same steps as hooks.

    Raises:
        EditError: they differ by more than rounding.
    """
    tokens = [chat_tokens(base, probe) for probe in PROBES]
    untouched = final_log_probs(base, tokens)
    with running(base, steps, directions):
        expected = final_log_probs(base, tokens)
    error = float((final_log_probs(adapted, tokens) - expected).abs().max())
    effect = float((expected - untouched).abs().max())
    precise = "float32" in str(base.network.dtype)
    if precise and not error <= _TOLERANCE * max(effect, 0.1):
        raise EditError(
            f"the adapter does not do what the edit does: log-probabilities differ by {error:.1e} where the"
            f" edit moves them by {effect:.1e}; this PEFT release may read the adapter in another way"
        )
    return AdapterCheck(error, effect)
