"""A dictionary as a folder that SAELens (v6) and `surgery` read: `cfg.json` and `sae_weights.safetensors`.

    W_enc (d_model, n_features)   b_enc (n_features,)   W_dec (n_features, d_model)   b_dec (d_model,)
    standard: relu(x W_enc + b_enc)            topk: the k largest of (x − b_dec) W_enc + b_enc, then relu

Beside them `metrics.json`, `metrics.jsonl` and a card. The folder is written as `<name>.partial` and renamed
when it is complete, so that what bears the final name is whole.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from surgery.checkpoint.folder import flush_tree
from surgery.errors import DictionaryError, OutputError
from trainer.architectures import ARCHITECTURES
from trainer.config import DictionarySettings, HookSettings, ReluSettings, TopkSettings
from trainer.parameters import Parameters

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
CONTENTS = (CONFIG, WEIGHTS, "metrics.json", "metrics.jsonl", "README.md", "last_good.safetensors")


@dataclass(frozen=True)
class SavedDictionary:
    """A dictionary read back: arrays for raw activations, and the settings that `encode` needs."""

    parameters: Parameters
    settings: DictionarySettings
    hook_name: str


@contextmanager
def staged(folder: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A staging folder that becomes `folder` when the block ends well; after an error it stays as
    `<name>.partial`.

    Raises: OutputError when `folder` exists and may not be replaced, or holds what this trainer did not
    write.
    """
    staging = folder.with_name(folder.name + ".partial")
    if folder.exists():
        if not overwrite:
            raise OutputError(f"{folder}: exists already; choose another --out, or pass --overwrite")
        _check_ours(folder)
    if staging.exists():
        _check_ours(staging)
        shutil.rmtree(staging)
    try:
        staging.mkdir(parents=True)
    except OSError as error:
        raise OutputError(f"{staging}: cannot be made: {error.strerror}; choose another --out") from error
    yield staging
    flush_tree(staging)
    if folder.exists():
        shutil.rmtree(folder)
    staging.replace(folder)


def _check_ours(folder: Path) -> None:
    foreign = (
        sorted(entry.name for entry in folder.iterdir() if entry.name not in CONTENTS)
        if folder.is_dir()
        else ["it"]
    )
    if foreign:
        raise OutputError(
            f"{folder}: holds {foreign[0]}, which is no part of a dictionary; move it or choose another --out"
        )


def hook_name(hook: HookSettings) -> str:
    """SAELens' name of a hook point, as in `blocks.4.hook_resid_pre`."""
    return f"blocks.{hook.layer}.hook_{hook.point}"


def saelens_config(settings: DictionarySettings, d_model: int, metadata: dict[str, Any]) -> dict[str, Any]:
    """`cfg.json` as a dict. `metadata` goes in as it is; SAELens wants model_name and hook_name there."""
    architecture = ARCHITECTURES[settings.architecture]
    config: dict[str, Any] = {
        "architecture": architecture.saelens_name,
        "d_in": d_model,
        "d_sae": settings.features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": architecture.subtracts_decoder_bias,
        "normalize_activations": "none",
        "reshape_activations": "none",
    }
    if isinstance(settings, TopkSettings):
        config |= {"k": settings.k, "rescale_acts_by_decoder_norm": False}
    return {**config, "metadata": metadata}


def write_dictionary(folder: Path, parameters: Parameters, config: dict[str, Any]) -> None:
    """`cfg.json` and `sae_weights.safetensors` of folded parameters, into an existing folder."""
    tensors = {
        "W_enc": np.ascontiguousarray(np.asarray(parameters["encoder"]).T),
        "b_enc": np.asarray(parameters["encoder_bias"]),
        "W_dec": np.asarray(parameters["decoder"]),
        "b_dec": np.asarray(parameters["decoder_bias"]),
    }
    try:
        save_file(tensors, folder / WEIGHTS)
        write_json(folder / CONFIG, config)
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"{folder}: cannot be written: {error}; free some space or choose another --out"
        ) from error


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON with a final newline."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_dictionary(folder: Path) -> SavedDictionary:
    """A `standard` or `topk` SAELens folder.

    Raises: DictionaryError when a file is missing or malformed, or the dictionary is of a kind not read here.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
        arrays = {name: jnp.asarray(tensors[name]) for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
        settings = _settings(config)
        metadata = config.get("metadata", {})
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise DictionaryError(
            f"{folder}: not a dictionary folder: {error}; it needs {CONFIG} and {WEIGHTS}"
        ) from error
    if config.get("normalize_activations", "none") != "none":
        raise DictionaryError(
            f"{folder}: normalize_activations is not 'none'; fold the normalisation into the weights"
        )
    encoder, bias = arrays["W_enc"].T, arrays["b_enc"]
    subtracts = ARCHITECTURES[settings.architecture].subtracts_decoder_bias
    shift = int(config.get("apply_b_dec_to_input", True)) - int(subtracts)
    bias = bias - float(shift) * (encoder @ arrays["b_dec"])
    parameters = {
        "encoder": encoder,
        "encoder_bias": bias,
        "decoder": arrays["W_dec"],
        "decoder_bias": arrays["b_dec"],
    }
    return SavedDictionary(parameters, settings, str(metadata.get("hook_name", "")))


def _settings(config: dict[str, Any]) -> DictionarySettings:
    if config["architecture"] == "topk":
        return TopkSettings(architecture="topk", features=config["d_sae"], k=config["k"])
    if config["architecture"] == "standard":
        return ReluSettings(architecture="relu", features=config["d_sae"], coefficient=0.0)
    raise ValueError(f"architecture {config['architecture']!r} is not read here (standard, topk)")
