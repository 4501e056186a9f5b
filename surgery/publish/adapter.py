"""A LoRA adapter in PEFT's layout, from `surgery diff --extract-lora` or any other tool."""

from __future__ import annotations

from pathlib import Path

from surgery.checkpoint.header import parse_json, read_header
from surgery.compare.lora import CONFIG, WEIGHTS
from surgery.errors import UploadError
from surgery.publish.part import Part, hub_id, quoted

_NAMES = (
    CONFIG,
    WEIGHTS,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
_USE = """\
```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained({base})
model = PeftModel.from_pretrained(base, "path/to/this/folder")
```

`with model.disable_adapter():` is the base model again; its weights do not change until the adapter is
merged.
"""


def describe_adapter(folder: Path) -> Part:
    """What an adapter says of itself.

    Raises:
        CheckpointError: its weights or its configuration cannot be read.
        UploadError: it has no weights in safetensors.
    """
    if not (folder / WEIGHTS).is_file():
        raise UploadError(f"{folder}: has {CONFIG} and no {WEIGHTS}; only safetensors are published")
    config = parse_json((folder / CONFIG).read_bytes(), str(folder / CONFIG))
    config = config if isinstance(config, dict) else {}
    header = read_header(folder / WEIGHTS)
    base = config.get("base_model_name_or_path")
    known = hub_id(base)
    modules = {name.split(".lora_")[0] for name in header.tensors if ".lora_" in name}
    named = quoted(base or "a model that it does not name")
    about = (
        f"A {quoted(config.get('peft_type', 'PEFT'))} adapter for {named},"
        f" rank {quoted(config.get('r', 'not stated'))}, on {len(modules)} modules"
        f" ({len(header.tensors)} tensors)."
    )
    fields = {
        **({"base_model": known} if known else {}),
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["surgery", "lora"],
    }
    use = _USE.format(base=quoted(known or "the base model").replace("`", '"'))
    return Part("adapter", _NAMES, fields, "LoRA adapter", about, use, _notes(known, base))


def _notes(known: str | None, base: object) -> tuple[str, ...]:
    if known is not None:
        return ()
    return (
        f"it names {base!r} as its base, which is no Hub id: say which it is by --base organisation/name",
    )
