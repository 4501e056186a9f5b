"""Hook points in every spelling that a user or a file may give."""

from __future__ import annotations

import pytest

from surgery.dictionary.facts import from_module, into_module, parse_hook_point
from surgery.errors import DictionaryError
from surgery.hook_point import (
    SITES,
    HookPoint,
    Site,
    from_text,
    from_transformer_lens,
    to_text,
    to_transformer_lens,
)


@pytest.mark.parametrize(
    "text", ["blocks.4.hook_resid_pre", "layer 4 resid_pre", "4 resid_pre", "4.resid_pre", "resid_pre.4"]
)
def test_a_hook_point_has_several_spellings(text: str) -> None:
    assert parse_hook_point(text) == HookPoint(4, "resid_pre")


@pytest.mark.parametrize("text", ["", "resid_pre", "4", "4.hidden", "blocks.4.hook_z", "resid_pre.-1"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(DictionaryError, match=r"resid_pre\.4"):
        parse_hook_point(text)


@pytest.mark.parametrize(
    ("module", "point"),
    [
        ("layers.10", HookPoint(10, "resid_post")),
        ("model.layers.10.output", HookPoint(10, "resid_post")),
        ("h.0.attn", HookPoint(0, "attn_out")),
        ("transformer.h.3.mlp", HookPoint(3, "mlp_out")),
        ("model.layers.2.post_feedforward_layernorm.output", HookPoint(2, "mlp_out")),
        ("model.layers.2.pre_feedforward_layernorm.output", HookPoint(2, "mlp_in")),
        ("model.layers.2.self_attn.o_proj.input", None),
        ("embed_tokens", None),
    ],
)
def test_a_module_s_output_is_a_hook_point(module: str, point: HookPoint | None) -> None:
    assert from_module(module) == point


def test_what_a_module_reads_is_a_hook_point() -> None:
    assert into_module("layers.10") == HookPoint(10, "resid_pre")
    assert into_module("model.layers.10.mlp") == HookPoint(10, "mlp_in")
    assert into_module("layers.10.self_attn") is None


@pytest.mark.parametrize("site", SITES)
def test_what_json_says_is_read_back(site: Site) -> None:
    assert from_text(to_text(HookPoint(12, site))) == HookPoint(12, site)


def test_every_site_has_a_transformer_lens_name_and_one_name_deceives() -> None:
    for site in SITES:
        assert from_transformer_lens(to_transformer_lens(HookPoint(3, site))) == HookPoint(3, site)
    assert from_transformer_lens("blocks.3.hook_mlp_in") == HookPoint(3, "resid_mid")
    assert from_transformer_lens("blocks.3.ln2.hook_normalized") == HookPoint(3, "mlp_normalized")
    assert from_transformer_lens("blocks.3.ln1.hook_normalized") is None
