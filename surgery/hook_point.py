"""Where in a model an activation is read or changed, spelt one way everywhere.

`resid_pre` of layer l is the input of block l, `resid_post` its output; so `resid_post` of layer l is
`resid_pre` of layer l + 1, and the last `resid_post` is taken before the final norm. `resid_mid` lies
between attention and MLP; `attn_out` and `mlp_out` are what those two add to the stream, and `mlp_in` is what
the MLP reads, behind its norm: no place of the stream, but where most transcoders read. `mlp_normalized` is
the same before the norm's gain (and bias), x / rms(x): what a transcoder reads whose authors folded the gain
into the MLP. Layers count from 0 and are never an index into transformers' `hidden_states`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

Site = Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "mlp_in", "mlp_normalized"]
SITES: tuple[Site, ...] = get_args(Site)

_TRANSFORMER_LENS = re.compile(r"blocks\.(\d+)\.([\w.]+)")
_SHORT = re.compile(r"(?:layer\s*)?(\d+)\s*[. /:]?\s*([a-z_]+)|([a-z_]+)[. ](\d+)")
_NAMES: dict[str, Site] = {
    **{f"hook_{site}": site for site in SITES},
    # TransformerLens' hook_mlp_in is taken before the norm, and only a hook inside the MLP behind it.
    "hook_mlp_in": "resid_mid",
    "mlp.hook_in": "mlp_in",
    "ln2.hook_normalized": "mlp_normalized",
}
_SPELT: dict[Site, str] = {"mlp_in": "mlp.hook_in", "mlp_normalized": "ln2.hook_normalized"}


@dataclass(frozen=True, order=True)
class HookPoint:
    """A site of a layer, for example `HookPoint(4, "resid_pre")`."""

    layer: int
    site: Site

    def __str__(self) -> str:
        return f"layer {self.layer} {self.site}"

    def same_stream(self, other: HookPoint) -> bool:
        """Whether both name one tensor: equal, or `resid_post` of l beside `resid_pre` of l + 1."""
        return _stream_position(self) == _stream_position(other)


def from_transformer_lens(name: str) -> HookPoint | None:
    """The hook point of a TransformerLens name (`blocks.4.hook_resid_pre`), or None for any other."""
    match = _TRANSFORMER_LENS.fullmatch(name)
    site = None if match is None else _NAMES.get(match.group(2))
    return None if match is None or site is None else HookPoint(int(match.group(1)), site)


def to_transformer_lens(point: HookPoint) -> str:
    """The TransformerLens name of a hook point: `blocks.4.hook_resid_pre`."""
    return f"blocks.{point.layer}.{_SPELT.get(point.site, f'hook_{point.site}')}"


def from_text(text: str) -> HookPoint | None:
    """What `blocks.4.hook_resid_pre`, `layer 4 resid_pre`, `4.resid_pre` or `resid_pre.4` say, else None."""
    found = from_transformer_lens(text)
    match = _SHORT.fullmatch(text.strip())
    if found is not None or match is None:
        return found
    layer, name = (match[1], match[2]) if match[1] else (match[4], match[3])
    site: Site | None = next((each for each in SITES if each == name), None)
    return None if site is None else HookPoint(int(layer), site)


def to_text(point: HookPoint) -> str:
    """A hook point as options and JSON spell it, and `from_text` reads it: `resid_pre.4`."""
    return f"{point.site}.{point.layer}"


def _stream_position(point: HookPoint) -> tuple[int, str]:
    if point.site == "resid_post":
        return point.layer + 1, "resid_pre"
    return point.layer, point.site
