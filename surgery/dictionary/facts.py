"""What the user says of a dictionary where its files are silent or could mean two things.

Each fact overrides what a file says; a reader that misses one raises an error that names it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from surgery.errors import DictionaryError
from surgery.hook_point import SITES, HookPoint, Site, from_text

_OUTPUTS: dict[str | None, Site] = {
    None: "resid_post",
    "output": "resid_post",
    "mlp": "mlp_out",
    "mlp.output": "mlp_out",
    "post_feedforward_layernorm.output": "mlp_out",
    "attn": "attn_out",
    "self_attn": "attn_out",
    "attention": "attn_out",
    "self_attn.output": "attn_out",
    "post_attention_layernorm.output": "attn_out",
    "pre_feedforward_layernorm.output": "mlp_in",
}
"""What follows a block's number in a module's name → what the module puts out."""


@dataclass(frozen=True)
class Facts:
    """Facts given beside a dictionary's files; None is "as the file says".

    Attributes:
        format: which reader to use, where the files fit several or none.
        hook_point: what the dictionary reads.
        k: active features a token of a topk dictionary.
        input_norm: mean length of the activations it was trained on; 0 says that they were not normalised.
        trust_pickle: a `.pt` file may be opened (its tensors only: no code in it runs).
        output_point: what it writes, of a transcoder.
    """

    format: str | None = None
    hook_point: HookPoint | None = None
    k: int | None = None
    input_norm: float | None = None
    trust_pickle: bool = False
    output_point: HookPoint | None = None


NO_FACTS = Facts()


def missing_fact(name: str, what: str, fact: str, example: str) -> DictionaryError:
    """The error for want of one fact.

    Args:
        what: what the files leave open.
        fact: the name under which it is given.
        example: a value it might have.
    """
    option = f"--{fact.replace('_', '-')}" + ("" if example == "true" else f" {example}")
    return DictionaryError(
        f"{name}: {what}; say it with {option} (in a recipe: facts: {{{fact}: {example}}})"
    )


def parse_hook_point(text: str) -> HookPoint:
    """A hook point as `from_text` reads it.

    Raises:
        DictionaryError: it is none.
    """
    found = from_text(text)
    if found is None:
        raise DictionaryError(
            f"{text!r} is no hook point; write it as 'resid_pre.4', with a site of {', '.join(SITES)}"
        )
    return found


def from_module(name: str) -> HookPoint | None:
    """The hook point that the output of a transformers module is, or None: `layers.10` is resid_post 10."""
    return _from_module(name, _OUTPUTS)


def into_module(name: str) -> HookPoint | None:
    """The hook point that a transformers module reads, or None: `layers.10.mlp` reads mlp_in 10."""
    return _from_module(name, {None: "resid_pre", "mlp": "mlp_in"})


def _from_module(name: str, sites: Mapping[str | None, Site]) -> HookPoint | None:
    match = re.fullmatch(r"(?:.*\.)?(?:layers|h|blocks)\.(\d+)(?:\.(.+))?", name)
    site = None if match is None else sites.get(match[2])
    return None if match is None or site is None else HookPoint(int(match[1]), site)
