"""How much a model is about to refuse, without generating: log-odds of the first token (Arditi et al. 2024,
appendix B).

    score = log(Σ_{t ∈ R} p_t + 1e-8) − log(1 − Σ_{t ∈ R} p_t + 1e-8)

with R the first tokens of refusals, at the position where the reply begins, in float64.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from surgery.errors import DirectionError
from surgery.model.language_model import LanguageModel, final_log_probs

_FLOOR = 1e-8
_LEAST_SHARE = 0.02
_LEAST_RATIO = 5.0


def refusal_scores(log_probs: Any, refusal_tokens: Sequence[int]) -> np.ndarray:
    """Score of each prompt: (n,) float64, from log-probabilities (n, vocabulary) as a torch tensor."""
    share = log_probs.double().exp()[:, list(refusal_tokens)].sum(dim=1).numpy()
    return np.asarray(np.log(share + _FLOOR) - np.log(np.maximum(1.0 - share, 0.0) + _FLOOR))


def derive_refusal_tokens(
    model: LanguageModel, positive: Sequence[Sequence[int]], negative: Sequence[Sequence[int]]
) -> tuple[int, ...]:
    """First tokens of the model's own greedy replies to positive prompts that are not how it answers negative
    ones.

    A token counts when it opens at least 2 % of the positive replies and five times the share of the negative
    ones.

    Raises:
        DirectionError: there is no such token, so the model does not tell the two sides apart.
    """
    opened = [Counter(final_log_probs(model, side).argmax(dim=1).tolist()) for side in (positive, negative)]
    shares = [
        {token: count / len(side) for token, count in counts.items()}
        for counts, side in zip(opened, (positive, negative), strict=True)
    ]
    tokens = [
        token
        for token, share in shares[0].items()
        if share >= _LEAST_SHARE and share > _LEAST_RATIO * shares[1].get(token, 0.0)
    ]
    if not tokens:
        common = [model.tokenizer.decode([token]) for token, _ in opened[0].most_common(3)]
        raise DirectionError(
            f"the model's replies to positive and negative prompts begin alike (most often {common}), so"
            " refusal tokens cannot be derived; name them in select.refusal_tokens, or check that the model"
            " refuses the positive prompts"
        )
    return tuple(sorted(tokens))


def encode_refusal_tokens(model: LanguageModel, texts: Sequence[str]) -> tuple[int, ...]:
    """Token numbers of named openings: the first token of each text."""
    return tuple(sorted({model.tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in texts}))
