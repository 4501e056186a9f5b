"""How far one distribution over tokens is from another: KL(p ‖ q) = Σ_t p_t (log p_t − log q_t), in nats."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def kl_divergence(base: torch.Tensor, edited: torch.Tensor) -> torch.Tensor:
    """KL(base ‖ edited) of each row in nats, float64.

    Args:
        base: (n, vocabulary) log-probabilities or logits; −inf where a token cannot be.
        edited: the same.

    Returns:
        (n,) at least 0; inf where the edited model rules out what the base does not.
    """
    import torch

    log_p = torch.log_softmax(base.double(), dim=-1)
    log_q = torch.log_softmax(edited.double(), dim=-1)
    terms = log_p.exp() * (log_p - log_q)
    # 0 · (−inf − x) is 0 by continuity; floating point calls it nan.
    terms = torch.where(torch.isneginf(log_p), torch.zeros_like(terms), terms)
    return terms.sum(dim=-1).clamp(min=0.0)
