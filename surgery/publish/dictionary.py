"""A dictionary as a folder that SAELens reads, such as `surgery-train` leaves, and what it measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surgery.dictionary.dictionary import Dictionary
from surgery.dictionary.source import detect_format, open_dictionary
from surgery.errors import DictionaryError, UploadError
from surgery.publish.part import Part, hub_id, quoted

_NAMES = (
    "cfg.json",
    "sae_weights.safetensors",
    "sparsity.safetensors",
    "activation_scaler.json",
    "metrics.json",
    "metrics.jsonl",
    "training.html",
)
_MEASURED = {
    "fvu": "fraction of variance unexplained",
    "l0": "active features per token",
    "dead_share": "share of dead features",
    "loss_recovered": "loss recovered",
}
_USE = """\
```python
from huggingface_hub import snapshot_download
from sae_lens import SAE

sae = SAE.load_from_disk(snapshot_download("path/to/this/folder"))
```

`surgery dictionary info` takes its name in place of a folder, and so does `reconstruct: {{dictionary: …}}`
in a recipe. It reads {place}.
"""


def is_dictionary(place: Path) -> bool:
    """Whether a folder holds a dictionary of some known format."""
    try:
        return place.is_dir() and bool(detect_format(place, str(place)))
    except DictionaryError:
        return False


def describe_dictionary(folder: Path) -> Part:
    """What a dictionary says of itself; it is opened, so that nothing is published that cannot be read.

    Raises:
        DictionaryError: it cannot be read.
        UploadError: it is of another format than SAELens'.
    """
    opened = open_dictionary(str(folder))
    if opened.format != "saelens":
        raise UploadError(
            f"{folder}: is a dictionary of the format {opened.format}; `surgery-train convert` writes the"
            " folder that SAELens reads, which can be published"
        )
    model = opened.metadata.get("model_name")
    known, measured = hub_id(model), _measured(folder)
    fields: dict[str, Any] = {
        **({"base_model": known} if known else {}),
        "library_name": "saelens",
        "tags": ["surgery", "sparse-autoencoder", "interpretability", opened.architecture],
        **_model_index(opened, measured),
    }
    hook = opened.metadata.get("hook_name") or opened.hook_point or "not stated"
    of = quoted(model or "a model that it does not name")
    about = (
        f"A sparse dictionary ({quoted(opened.architecture)}) of {of} at {quoted(hook)}:"
        f" {opened.n_features:,} features, width {opened.d_model:,}."
    )
    rows = "\n".join(f"| {_MEASURED[key]} | {value:.4g} |" for key, value in measured.items())
    table = f"\n\n| measured | |\n|---|--:|\n{rows}" if rows else "\n\nNothing was measured on it."
    return Part(
        "dictionary",
        _NAMES,
        fields,
        "Sparse dictionary",
        about + table,
        _USE.format(place=f"{quoted(hook)} of {of}"),
    )


def _measured(folder: Path) -> dict[str, float]:
    path = folder / "metrics.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise UploadError(f"{path}: cannot be read: {error}; remove it, or evaluate again") from error
    numbers = found if isinstance(found, dict) else {}
    return {key: float(numbers[key]) for key in _MEASURED if isinstance(numbers.get(key), int | float)}


def _model_index(opened: Dictionary, measured: Mapping[str, float]) -> dict[str, Any]:
    """What was measured, in the Hub's model-index form."""
    if not measured:
        return {}
    data = str(opened.metadata.get("dataset_path") or "held-out tokens")
    result = {
        "task": {"type": "feature-extraction", "name": "Sparse coding of activations"},
        "dataset": {"type": data, "name": data},
        "metrics": [
            {"type": key, "value": round(value, 6), "name": _MEASURED[key]} for key, value in measured.items()
        ],
    }
    name = str(opened.metadata.get("hook_name") or "dictionary")
    return {"model-index": [{"name": name, "results": [result]}]}
