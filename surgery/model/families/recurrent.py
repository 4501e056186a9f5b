"""Families whose blocks have one sublayer, or share one between blocks: state-space models and their hybrids.

    h ← h + W_out·mixer(norm h)

A block of Mamba has nothing else; in Nemotron-H the mixer is attention, an MLP or experts in some layers. In
Zamba some blocks run a transformer that they share with others, on the stream beside its own beginning, and
hand the result through `linear` to the mixer: it enters a copy of the stream that the mixer reads, so
`linear` writes too. Whatever the mixer, a state-space one counts as attention_out.
"""

from __future__ import annotations

from dataclasses import replace

from surgery.model.families.parts import EMBEDDING, bias_of, with_bias
from surgery.model.families.table import Family, Sites, WriterRow

_EMBEDDINGS = WriterRow("embeddings.weight", "embedding", 1)
_OUT = WriterRow("layers.{layer}.mixer.out_proj.weight", "attention_out", 0)
_MAMBA_READERS = (
    "norm_f.weight",
    "layers.{layer}.norm.weight",
    "layers.{layer}.mixer.{A_log|D|dt_bias|norm.weight}",
    "layers.{layer}.mixer.{in_proj|conv1d|dt_proj|x_proj}.{weight|bias}",
)

_LATENT = WriterRow(
    "layers.{layer}.mixer.fc2_latent_proj.weight", "mlp_out", 0, kind="mixer:experts", needs="moe_latent_size"
)

_MAMBA = WriterRow("layers.{layer}.mamba.out_proj.weight", "attention_out", 0, kind="block:mamba")
_HYBRID = WriterRow(
    "layers.{layer}.mamba_decoder.mamba.out_proj.weight", "attention_out", 0, kind="block:hybrid"
)
_LINEAR = WriterRow("layers.{layer}.linear.weight", "attention_out", 0, kind="block:hybrid")
_MIXER = "{A_log|D|dt_bias|norm.weight|x_proj_weight|dt_proj_weight|dt_proj_bias}"
_PROJECTIONS = "{in_proj|conv1d}.{weight|bias}"
ZAMBA = Family(
    model_types=("zamba",),
    writers=(
        EMBEDDING,
        *with_bias(_MAMBA, "mamba_proj_bias"),
        *with_bias(_HYBRID, "mamba_proj_bias"),
        _LINEAR,
    ),
    readers=(
        "final_layernorm.weight",
        "layers.{layer}.{input_layernorm|mamba_decoder.input_layernorm}.weight",
        *(
            f"layers.{{layer}}.{{mamba|mamba_decoder.mamba}}.{part}"
            for part in (_MIXER, _PROJECTIONS, "{x_proj|dt_proj}.{weight|bias}")
        ),
        "layers.{layer}.shared_transf.{input|pre_ff}_layernorm.weight",
        "layers.{layer}.shared_transf.self_attn.{q|k|v|o}_proj.weight",
        "layers.{layer}.shared_transf.feed_forward.{gate|up|down}_proj.weight",
    ),
    tied_by_default=True,
    sites=Sites("mamba|mamba_decoder.mamba", "", copies=("mamba_decoder.input_layernorm",)),
)

FAMILIES = (
    Family(
        model_types=("mamba", "falcon_mamba", "mamba2"),
        writers=(_EMBEDDINGS, *with_bias(_OUT, "use_bias")),
        readers=_MAMBA_READERS,
        prefixes=("backbone.",),
        tied_by_default=True,
        sites=Sites("mixer", "", "backbone.layers"),
    ),
    Family(
        model_types=("nemotron_h",),
        writers=(
            _EMBEDDINGS,
            *with_bias(replace(_OUT, kind="mixer:mamba"), "use_bias"),
            WriterRow("layers.{layer}.mixer.o_proj.weight", "attention_out", 0, kind="mixer:attention"),
            *with_bias(
                WriterRow("layers.{layer}.mixer.down_proj.weight", "mlp_out", 0, kind="mixer:mlp"), "mlp_bias"
            ),
            WriterRow(
                "layers.{layer}.mixer.experts.{expert}.down_proj.weight",
                "mlp_out",
                0,
                kind="mixer:experts",
                unless="moe_latent_size",
            ),
            _LATENT,
            replace(bias_of(_LATENT), kind=None, optional=True),
            *with_bias(
                WriterRow(
                    "layers.{layer}.mixer.shared_experts.down_proj.weight",
                    "mlp_out",
                    0,
                    kind="mixer:experts",
                    needs="n_shared_experts",
                    assumed=True,
                ),
                "mlp_bias",
            ),
        ),
        readers=(
            *_MAMBA_READERS,
            "layers.{layer}.mixer.{q|k|v|up}_proj.{weight|bias}",
            "layers.{layer}.mixer.gate.{weight|e_score_correction_bias}",
            "layers.{layer}.mixer.experts.{expert}.{up|down}_proj.{weight|bias}",
            "layers.{layer}.mixer.shared_experts.up_proj.{weight|bias}",
            "layers.{layer}.mixer.fc1_latent_proj.{weight|bias}",
        ),
        prefixes=("backbone.", "model."),
        depth="num_hidden_layers|layers_block_type|hybrid_override_pattern",
        sites=Sites("mixer", "", "model.layers"),
    ),
    ZAMBA,
    replace(
        ZAMBA,
        model_types=("zamba2",),
        writers=(
            EMBEDDING,
            *with_bias(_MAMBA, "add_bias_linear"),
            *with_bias(_HYBRID, "add_bias_linear"),
            _LINEAR,
        ),
        readers=(
            *ZAMBA.readers[:-3],
            "layers.{layer}.shared_transformer.{input|pre_ff}_layernorm.weight",
            "layers.{layer}.shared_transformer.self_attn.{q|k|v|o}_proj.weight",
            "layers.{layer}.shared_transformer.self_attn.linear_{q|k|v}_adapter_list.{index}.{0|1}.weight",
            "layers.{layer}.shared_transformer.feed_forward.{gate_up|down}_proj.{weight|bias}",
            "layers.{layer}.shared_transformer.feed_forward.gate_up_proj_adapter_list.{index}.{0|1}.weight",
        ),
    ),
    Family(
        model_types=("xlstm",),
        writers=(
            _EMBEDDINGS,
            *with_bias(
                WriterRow("blocks.{layer}.mlstm_layer.out_proj.weight", "attention_out", 0), "use_bias"
            ),
            *with_bias(WriterRow("blocks.{layer}.ffn.proj_down.weight", "mlp_out", 0), "use_bias"),
        ),
        readers=(
            "out_norm.{weight|bias}",
            "blocks.{layer}.norm_{mlstm|ffn}.{weight|bias}",
            "blocks.{layer}.mlstm_layer.{q|k|v|ogate_preact|igate_preact|fgate_preact}.{weight|bias}",
            "blocks.{layer}.mlstm_layer.multihead_norm.{weight|bias}",
            "blocks.{layer}.ffn.{proj_up|proj_up_gate}.{weight|bias}",
        ),
        prefixes=("backbone.",),
        sites=Sites("mlstm_layer", "ffn", "backbone.blocks"),
        pads=False,
    ),
)
