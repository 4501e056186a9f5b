"""The README.md that lies beside a dictionary: what it is, how it was trained, how good it is."""

from typing import Any

from trainer.config import MODEL, Config, TextSource
from trainer.kinds import (
    BatchtopkSettings,
    DictionarySettings,
    GatedSettings,
    JumpreluSettings,
    MatryoshkaSettings,
    ReluSettings,
    TranscoderSettings,
)
from trainer.save import hook_names

TEMPLATE = """\
# Dictionary of {model}, layer {layer} {point}

A sparse dictionary ({kind}) of {place}: {features:,} features, trained with
`surgery-train`. The files are SAELens v6 (`cfg.json`, `sae_weights.safetensors`, hook `{hook}`); they
take raw activations, the input scale {scale:.6g} is folded in, and decoder rows have unit norm.

| measured on {tokens:,} held-out tokens | |
|---|---|
| fraction of variance unexplained (global mean) | {fvu:.4f} |
| L0, active features per token | {l0:.2f} |
| dead share, features silent on these tokens | {dead:.2%} |
| loss recovered (nats: {clean:.4f} clean, {zero:.4f} zeroed, {spliced:.4f} spliced) | {recovered:.4f} |
| KL of the model to the spliced one (nats; zeroed {kl_zero:.4f}) | {kl_spliced:.4f} |
| mean squared correlation (the seed's figure; blind to scale) | {correlation:.4f} |

Training: {trained:,} tokens in {steps:,} steps, drawn from {harvested:,} harvested ones; seed {seed}.
Texts: {texts}.
BOS and padding were left out{special}.
"""


def card(config: Config, numbers: dict[str, Any]) -> str:
    """The text, from the run's config and the numbers of metrics.json."""
    entropy = numbers["cross_entropy"]
    return TEMPLATE.format(
        model=config.model.source,
        layer=config.hook.layer,
        point=config.hook.point,
        kind=kind(config.dictionary),
        features=config.dictionary.features,
        place="the MLP's map from input to output" if config.hook.point == "mlp" else "the residual stream",
        hook=hook_names(config.hook)["hook_name"],
        scale=numbers["input_scale"],
        tokens=numbers["tokens"],
        fvu=numbers["fvu"],
        l0=numbers["l0"],
        dead=numbers["dead_share"],
        clean=entropy["clean"],
        zero=entropy["zero"],
        spliced=entropy["spliced"],
        recovered=numbers["loss_recovered"],
        kl_zero=numbers["kl_zero"],
        kl_spliced=numbers["kl_spliced"],
        correlation=numbers["mean_squared_correlation"],
        trained=numbers["tokens_trained"],
        steps=numbers["steps"],
        harvested=numbers["tokens_harvested"],
        seed=numbers["seed"],
        texts=", ".join(_text(source) for source in config.data.train),
        special=_left_out(config),
    )


def _left_out(config: Config) -> str:
    data = config.data
    special = ", and so were all other special tokens" if data.skip_special_tokens else ""
    if data.norm_outliers is None:
        return special
    return (
        f"{special}, and so were tokens of more than {data.norm_outliers:g} times their batch's median norm"
    )


def kind(dictionary: DictionarySettings) -> str:
    """The architecture and its numbers, in words."""
    match dictionary:
        case ReluSettings():
            return f"ReLU, {dictionary.sparsity} sparsity, coefficient {dictionary.coefficient:g}"
        case GatedSettings():
            return f"gated, {dictionary.sparsity} sparsity, coefficient {dictionary.coefficient:g}"
        case JumpreluSettings():
            return f"JumpReLU, {dictionary.sparsity} sparsity, coefficient {dictionary.coefficient:g}"
        case MatryoshkaSettings():
            prefixes = ", ".join(f"{prefix:,}" for prefix in dictionary.prefixes)
            return f"Matryoshka, k = {dictionary.k} on average, prefixes {prefixes}"
        case BatchtopkSettings():
            return f"BatchTopK, k = {dictionary.k} on average"
        case TranscoderSettings():
            return f"{'skip ' if dictionary.skip else ''}transcoder, k = {dictionary.k} on average"
    return f"TopK, k = {dictionary.k}"


def _text(source: TextSource) -> str:
    count = f" ({source.count:,} texts)" if source.count else ""
    repeat = f" × {source.repeat}" if source.repeat > 1 else ""
    last = f", last {source.last_tokens} tokens" if source.last_tokens else ""
    place = f" (`{source.file}` at {(source.revision or 'main')[:12]})" if source.file else ""
    name = "the model's own" if source.source == MODEL else f"`{source.source}`"
    return f"{name}{place}{count}{repeat}{last}"
