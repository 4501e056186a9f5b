"""Which modules of a transformers model are the residual stream's sites.

A block's input and output are the block's own; what attention and the MLP add to the stream leaves a module
that differs by family: the sublayer itself, its last matrix, or the norm behind it where a family normalises
what it adds. Where a family multiplies that by a scalar of its config before it adds it (Granite), the site
is before the scalar.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from surgery.errors import AnatomyError
from surgery.model.families import FAMILIES, TOWERS
from surgery.model.families.table import Sites

SITES: Mapping[str, Sites] = MappingProxyType(
    {
        **{model_type: family.sites for model_type, family in FAMILIES.items()},
        **{model_type: tower.sites for model_type, tower in TOWERS.items() if tower.sites is not None},
    }
)
"""model_type → its sites."""

MLP_NORMS: dict[str, str] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "phi3", "gemma"), "post_attention_layernorm"),
    **dict.fromkeys(("gemma2", "gemma3_text"), "pre_feedforward_layernorm"),
    "gpt2": "ln_2",
}
"""model_type → the norm before the MLP, whose input is resid_mid."""
_GAIN_IS_ONE_PLUS_WEIGHT = ("gemma", "gemma2", "gemma3_text")
_MLPS = ("mlp", "feed_forward", "block_sparse_moe", "ffn")


@dataclass(frozen=True)
class Block:
    """One layer's modules: the block, and those whose outputs it adds to the stream."""

    module: Any
    attn_out: Any
    mlp_out: Any
    copies: tuple[Any, ...] = ()
    mlp: Any = None
    """The MLP itself, None where no one module is it."""
    mlp_norm: Any = None
    """The norm before it, None where that is not in `MLP_NORMS`."""
    unit_gain: float = 1.0
    """What that norm's weight is where its gain is 1."""


def find_blocks(network: Any) -> tuple[Block, ...]:
    """The blocks of a causal language model, first to last.

    Raises:
        AnatomyError: the model type is not in the table.
    """
    config = network.config
    tower = config.model_type not in SITES and config.get_text_config() is not config
    model_type = config.get_text_config().model_type if tower else config.model_type
    if model_type not in SITES:
        raise AnatomyError(
            f"model type {model_type!r}: its residual stream's sites are not known; known are"
            f" {', '.join(sorted(SITES))}"
        )
    sites = SITES[model_type]
    decoder = network.get_decoder() if tower or sites.blocks is None else network
    if sites.blocks is None or hasattr(decoder, "layers"):
        blocks = list(decoder.layers)
    else:
        blocks = [block for path in sites.blocks.split("+") for block in decoder.get_submodule(path)]
    return tuple(_block(block, sites, model_type) for block in blocks)


def _block(block: Any, sites: Sites, model_type: str) -> Block:
    norm = MLP_NORMS.get(model_type)
    copies = [part for name in sites.copies if (part := _submodule(block, name)) is not None]
    mlps = [part for name in _MLPS if (part := _submodule(block, name)) is not None]
    attn_out, mlp_out = _part(block, sites.attn_out), _part(block, sites.mlp_out)
    return Block(
        block,
        attn_out,
        mlp_out,
        tuple(copies),
        mlps[0] if len(mlps) == 1 else None,
        None if norm is None else _submodule(block, norm),
        0.0 if model_type in _GAIN_IS_ONE_PLUS_WEIGHT else 1.0,
    )


class Together:
    """Several modules whose outputs a block adds; what is removed from each is removed from their sum."""

    def __init__(self, modules: Sequence[Any]) -> None:
        self._modules = modules

    def register_forward_hook(self, hook: Callable[..., Any]) -> Together:
        """Hook every one of them; the handle is this object."""
        self._handles = [module.register_forward_hook(hook) for module in self._modules]
        return self

    def remove(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()
        self._handles = []


def _part(block: Any, names: str) -> Any:
    if "+" in names or not names:
        parts = [_submodule(block, name) for name in names.split("+") if name]
        found = [part for part in parts if part is not None]
        return found[0] if len(found) == 1 else Together(found)
    for name in names.split("|"):
        if (part := _submodule(block, name)) is not None:
            return part
    raise AnatomyError(f"a block of the model has no {names.replace('|', ' and no ')}")


def _submodule(block: Any, name: str) -> Any:
    try:
        return block.get_submodule(name)
    except AttributeError:
        return None
