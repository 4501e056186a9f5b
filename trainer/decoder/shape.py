"""What `config.json` of a supported family says, in the words of one block.

    family       attention                    MLP     norm gain   round the sublayers
    llama        —                            SiLU    g           before
    mistral      window on every layer        SiLU    g           before
    qwen2        q, k, v biases               SiLU    g           before
    qwen3        norms on q and k             SiLU    g           before
    phi3         fused q, k, v; window        SiLU    g           before
    gemma        —                            GELU    1 + g       before
    gemma2       windows by layer, soft cap   GELU    1 + g       before and after
    gemma3_text  windows and RoPE by layer,   GELU    1 + g       before and after
                 norms on q and k

All gemmas scale the embedding by √d. Whatever a config asks for that is not here is refused, never ignored.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surgery.errors import SourceError
from trainer.decoder.rotary import Rotary, read_rotaries

FAMILIES = ("gemma", "gemma2", "gemma3_text", "llama", "mistral", "phi3", "qwen2", "qwen3")
FULL = 2**30  # a window that nothing reaches
ACTIVATIONS = ("gelu_pytorch_tanh", "silu")
Entries = dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """All that the forward pass asks; static in compiled code."""

    family: str
    d_model: int
    layers: int
    heads: int
    key_heads: int
    head_dim: int
    epsilon: float
    activation: str
    windows: tuple[int, ...]  # per layer, in tokens; FULL without one
    rotary: tuple[Rotary, Rotary]  # of layers without a window and with one
    query_scale: float
    softcap: float | None

    @property
    def is_gemma(self) -> bool:
        """Whether norms are 1 + g and the embedding is scaled."""
        return self.family.startswith("gemma")

    @property
    def norms_after(self) -> bool:
        """Whether each sublayer's output has a norm of its own."""
        return self.family in ("gemma2", "gemma3_text")


def read_shape(folder: Path) -> Shape:
    """The shape of the model in `folder`.

    Raises: SourceError when the family, or something that the config asks for, is not supported here.
    """
    try:
        config: Entries = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return _shape(config, str(folder))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{folder}: config.json cannot be used: {error!r}") from error


def _shape(config: Entries, place: str) -> Shape:
    family = config["model_type"]
    if family not in FAMILIES:
        raise _refused(place, f"family {family!r}", f"known: {', '.join(FAMILIES)}")
    default = "gelu_pytorch_tanh" if family.startswith("gemma") else "silu"
    named = "hidden_activation" if family in ("gemma2", "gemma3_text") else "hidden_act"
    activation = config.get(named) or default
    if activation not in ACTIVATIONS:
        raise _refused(place, f"activation {activation!r}", f"known: {', '.join(ACTIVATIONS)}")
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    scalar = config.get("query_pre_attn_scalar") if family in ("gemma2", "gemma3_text") else None
    if config.get("use_bidirectional_attention"):
        raise _refused(place, "bidirectional attention", "it is no decoder")
    return Shape(
        family=family, d_model=int(config["hidden_size"]), layers=int(config["num_hidden_layers"]),
        heads=heads, key_heads=config.get("num_key_value_heads") or heads, head_dim=head_dim,
        epsilon=config["rms_norm_eps"], activation=activation, windows=_windows(config),
        rotary=read_rotaries(config, int(head_dim), place), query_scale=(scalar or head_dim) ** -0.5,
        softcap=config.get("attn_logit_softcapping") if family in ("gemma2", "gemma3_text") else None,
    )  # fmt: skip


def _windows(config: Entries) -> tuple[int, ...]:
    family, layers, window = (
        config["model_type"],
        int(config["num_hidden_layers"]),
        config.get("sliding_window"),
    )
    if family in ("llama", "gemma") or window is None:
        return (FULL,) * layers
    if family.startswith("qwen") and not config.get("use_sliding_window"):
        return (FULL,) * layers
    kinds = config.get("layer_types")
    slides: list[bool]
    if family in ("mistral", "phi3"):
        slides = [True] * layers
    elif kinds is not None:
        slides = [kind == "sliding_attention" for kind in kinds]
    elif family == "gemma2":
        slides = [layer % 2 == 0 for layer in range(layers)]
    elif family == "gemma3_text":
        every = config.get("sliding_window_pattern", 6)
        slides = [(layer + 1) % every != 0 for layer in range(layers)]
    else:
        slides = [layer >= int(config.get("max_window_layers") or layers) for layer in range(layers)]
    return tuple(int(window) if each else FULL for each in slides)


def _refused(place: str, what: str, known: str) -> SourceError:
    return SourceError(f"{place}: {what} is not supported by model.decoder: jax ({known}); use transformers")
