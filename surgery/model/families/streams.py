"""Families that keep several streams and mix them by numbers per token.

    h_k ← Σ_j c_jk · h_j + p_k · W_o·attention(norm Σ_j a_j h_j)

Every c, p and a is a scalar, so a direction that no writer writes is in none of the streams (DeepSeek-V4's
and Hunyuan 4's hyper-connections). HRM runs two stacks of blocks in cycles, one stream added to the other
between them; its norms have no gain, and the second stream starts from a parameter, which writes.
"""

from __future__ import annotations

from surgery.model.families.parts import EMBEDDING, INDEXER, LATENT_READERS, ROUTED_FUSED, llama_like
from surgery.model.families.table import Family, Sites, WriterRow


def _stack(name: str) -> tuple[WriterRow, ...]:
    return (
        WriterRow(f"{name}.layers.{{layer}}.attn.o_proj.weight", "attention_out", 0),
        WriterRow(f"{name}.layers.{{layer}}.mlp.down_proj.weight", "mlp_out", 0),
    )


FAMILIES = (
    Family(
        model_types=("deepseek_v4",),
        writers=(
            EMBEDDING,
            WriterRow("layers.{layer}.attn.wo_b.weight", "attention_out", 0),
            WriterRow("layers.{layer}.ffn.experts.{expert}.w2.weight", "mlp_out", 0),
            WriterRow("layers.{layer}.ffn.shared_experts.w2.weight", "mlp_out", 0),
        ),
        readers=(
            "norm.weight",
            "hc_head.{hc_base|hc_fn|hc_scale}",
            "layers.{layer}.hc_{attn|ffn}_{base|fn|scale}",
            "layers.{layer}.{attn|ffn}_norm.weight",
            "layers.{layer}.attn.{attn_sink|norm.weight|q_norm.weight|wkv.weight|wo_a.weight}",
            "layers.{layer}.attn.{wq_a|wq_b}.weight",
            "layers.{layer}.attn.{compressor|indexer.compressor}.{ape|norm.weight|wgate.weight|wkv.weight}",
            "layers.{layer}.attn.indexer.{weights_proj|wq_b}.weight",
            "layers.{layer}.ffn.gate.{weight|bias|tid2eid}",
            "layers.{layer}.ffn.experts.{expert}.{w1|w3}.weight",
            "layers.{layer}.ffn.shared_experts.{w1|w3}.weight",
        ),
        unembedding=("head.weight",),
    ),
    Family(
        model_types=("hrm_text",),
        writers=(
            EMBEDDING,
            WriterRow("z_L_init", "embedding", 0, bias=True),
            *_stack("L_module"),
            *_stack("H_module"),
        ),
        readers=(
            "{L|H}_module.layers.{layer}.attn.gqkv_proj.weight",
            "{L|H}_module.layers.{layer}.mlp.gate_up_proj.weight",
        ),
        depth="num_layers_per_stack",
        sites=Sites(blocks="model.L_module.layers+model.H_module.layers"),
    ),
    llama_like(
        "hy_v4",
        *ROUTED_FUSED,
        readers=(
            *LATENT_READERS,
            *INDEXER,
            "hc_pre.hc_head.hc_head_{base|fn|scale}",
            "layers.{layer}.hc_pre.hc_{attn|mlp}_layer.hc_{base|fn|scale}",
            "layers.{layer}.self_attn.{learnable_sink_param|linear_gate.weight}",
            "layers.{layer}.mlp.{linear_gate|shared_experts.linear_gate|shared_experts.up_proj}.weight",
            "layers.{layer}.mlp.experts.gate_up_proj",
            "layers.{layer}.mlp.gate.{weight|e_score_correction_bias}",
        ),
    ),
)
