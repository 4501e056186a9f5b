"""A dictionary as a folder that SAELens (v6) and `surgery` read: `cfg.json` and `sae_weights.safetensors`.

    W_enc (d_in, n_features)   b_enc (n_features,)   W_dec (n_features, d_out)   b_dec (d_out,)
    π = x W_enc + b_enc, or (x − b_dec) W_enc + b_enc where cfg.json says apply_b_dec_to_input
    standard: relu(π)          topk: the k largest of π, then relu         jumprelu: π where π > threshold
    gated: relu(x (W_enc · exp r_mag) + b_mag) where x W_enc + b_gate > 0        (no b_enc)
    jumprelu_transcoder: jumprelu, but W_dec leads to the MLP's output; jumprelu_skip_transcoder: + x W_skipᵀ

BatchTopK, Matryoshka and transcoders are saved with the threshold they measured, as JumpReLU. Beside the
two files stand `metrics.json`, `metrics.jsonl`, `sparsity.safetensors` (log10 of each feature's density on
the held-out tokens), the page of the run and a card. The folder is written as `<name>.partial` and renamed
when it is complete, so that what bears the final name is whole.
"""

import errno
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from surgery.checkpoint.folder import flush_tree
from surgery.errors import DictionaryError, OutputError
from trainer.architectures import ARCHITECTURES
from trainer.array_file import write_arrays
from trainer.checkpoint import CHECKPOINT
from trainer.config import HookSettings
from trainer.kinds import (
    DictionarySettings,
    GatedSettings,
    JumpreluSettings,
    ReluSettings,
    TopkSettings,
    TranscoderSettings,
)
from trainer.parameters import Parameters

CONFIG, WEIGHTS, DENSITY = "cfg.json", "sae_weights.safetensors", "sparsity.safetensors"
REPORTS = ("metrics.json", "metrics.jsonl", "README.md", "training.html", "sources.lock.json")
LAST_GOOD = "last_good.safetensors"  # of a run that diverged
CONTENTS = (CONFIG, WEIGHTS, DENSITY, *REPORTS, CHECKPOINT, LAST_GOOD)
VERSION = {"sae_lens_version": "6.0.0"}  # of the layout; without it SAELens drops all other metadata
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
TENSORS = {
    "encoder": "W_enc",
    "encoder_bias": "b_enc",
    "gate_bias": "b_gate",
    "magnitude_bias": "b_mag",
    "log_magnitude": "r_mag",
    "threshold": "threshold",
    "decoder": "W_dec",
    "decoder_bias": "b_dec",
    "skip": "W_skip",
}
"""Our names of the arrays, SAELens' names of the tensors; all alike but the encoder, which is transposed."""


@dataclass(frozen=True)
class SavedDictionary:
    """A dictionary read back: arrays for raw activations, and the settings that `encode` needs."""

    parameters: Parameters
    settings: DictionarySettings
    hook_name: str


def unfinished(folder: Path) -> Path:
    """Where a run that is to become `folder` stands until then. Raises: OutputError when that has no name."""
    if not folder.name:
        raise OutputError(f"{folder}: has no name of its own; choose another --out")
    return folder.with_name(folder.name + ".partial")


@contextmanager
def staged(folder: Path, *, overwrite: bool = False, resume: bool = False) -> Iterator[Path]:
    """A staging folder that becomes `folder` when the block ends well; after an error it stays as
    `<name>.partial` if there is anything in it. With `resume` one that is there already is used as it is.
    What only an unfinished run needs is removed last: whatever fails before, the run can be resumed.

    Raises: OutputError when `folder` exists and may not be replaced, or holds what this trainer did not
    write, or an unfinished run would be lost; when the disk is full.
    """
    staging = unfinished(folder)
    if folder.exists():
        if not overwrite:
            raise OutputError(f"{folder}: exists already; choose another --out, or pass --overwrite")
        _check_ours(folder)
    if staging.exists() and not resume:
        _clear(staging, overwrite)
    try:
        staging.mkdir(parents=True, exist_ok=resume)
    except OSError as error:
        raise OutputError(f"{staging}: cannot be made: {error.strerror}; choose another --out") from error
    try:
        yield staging
        flush_tree(staging)
    except BaseException as error:
        if not any(staging.iterdir()):
            staging.rmdir()
        if isinstance(error, OSError) and error.errno in FULL:
            raise OutputError(
                f"{staging}: cannot be written: {error.strerror}; free some space and run it again, `fit`"
                " with --resume"
            ) from error
        raise
    if folder.exists():
        shutil.rmtree(folder)
    staging.replace(folder)
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    (folder / LAST_GOOD).unlink(missing_ok=True)


def _clear(staging: Path, overwrite: bool) -> None:
    _check_ours(staging)
    if (staging / CHECKPOINT).exists() and not overwrite:
        raise OutputError(
            f"{staging}: holds an unfinished run; pass --resume to go on, or --overwrite to start over"
        )
    shutil.rmtree(staging)


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


def hook_names(hook: HookSettings) -> dict[str, str]:
    """SAELens' names of a hook point: `blocks.4.hook_resid_pre`; for a transcoder that of its output too."""
    if hook.point == "mlp":
        module = f"blocks.{hook.layer}.mlp"
        return {"hook_name": f"{module}.hook_in", "hook_name_out": f"{module}.hook_out"}
    return {"hook_name": f"blocks.{hook.layer}.hook_{hook.point}"}


def saelens_config(
    settings: DictionarySettings, parameters: Parameters, metadata: dict[str, Any]
) -> dict[str, Any]:
    """`cfg.json` as a dict. `metadata` goes in as it is; SAELens wants model_name and hook_name there."""
    architecture = ARCHITECTURES[settings.architecture]
    config: dict[str, Any] = {
        "architecture": architecture.saelens_name,
        "d_in": parameters["encoder"].shape[1],
        "d_sae": settings.features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": architecture.subtracts_decoder_bias,
        "normalize_activations": "none",
        "reshape_activations": "none",
    }
    if isinstance(settings, TopkSettings):
        config |= {"k": settings.k, "rescale_acts_by_decoder_norm": False}
    if isinstance(settings, TranscoderSettings):
        config["d_out"] = parameters["decoder"].shape[1]
        config["architecture"] = "jumprelu_skip_transcoder" if settings.skip else "jumprelu_transcoder"
    return {**config, "metadata": metadata | VERSION}


def write_dictionary(folder: Path, parameters: Mapping[str, Any], config: dict[str, Any]) -> None:
    """`cfg.json` and `sae_weights.safetensors` of folded parameters, into an existing folder."""
    tensors = {TENSORS[name]: np.asarray(array, np.float32) for name, array in parameters.items()}
    tensors["W_enc"] = np.ascontiguousarray(tensors["W_enc"].T)
    if "threshold" in tensors:
        tensors["threshold"] = np.broadcast_to(tensors["threshold"], tensors["b_enc"].shape).copy()
    try:
        write_arrays(folder / WEIGHTS, tensors)
        write_json(folder / CONFIG, config)
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"{folder}: cannot be written: {error}; free some space or choose another --out"
        ) from error


def write_density(folder: Path, density: np.ndarray) -> None:
    """`sparsity.safetensors`: log10 of each feature's density (n_features,), −10 for one that never fired."""
    write_arrays(folder / DENSITY, {"sparsity": np.log10(density + 1e-10).astype(np.float32)})


def numbers_as_json(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Measured numbers for a JSON file: null where one is undefined, since JSON has no NaN."""
    undefined = {name for name, value in numbers.items() if isinstance(value, float) and not isfinite(value)}
    return {name: None if name in undefined else value for name, value in numbers.items()}


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON with a final newline."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_dictionary(folder: Path) -> SavedDictionary:
    """A SAELens folder of one of the kinds that this trainer writes.

    Raises: DictionaryError when a file is missing or malformed, or the dictionary is of a kind not read here.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
        settings = _settings(config)
        parameters = {name: jnp.asarray(tensors[TENSORS[name]]) for name in _arrays(config["architecture"])}
        hook = str(config.get("metadata", {}).get("hook_name", ""))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise DictionaryError(
            f"{folder}: not a dictionary folder: {error}; it needs {CONFIG} and {WEIGHTS}"
        ) from error
    if config.get("normalize_activations", "none") != "none":
        raise DictionaryError(
            f"{folder}: normalize_activations is not 'none'; fold the normalisation into the weights"
        )
    parameters["encoder"] = parameters["encoder"].T
    transcodes = "transcoder" in config["architecture"]
    wanted = config.get("apply_b_dec_to_input", True) and not transcodes
    shift = int(wanted) - int(ARCHITECTURES[settings.architecture].subtracts_decoder_bias)
    if shift:
        moved = float(shift) * (parameters["encoder"] @ parameters["decoder_bias"])
        parameters |= _shifted(parameters, moved)
    return SavedDictionary(parameters, settings, hook)


def _shifted(parameters: Parameters, moved: jax.Array) -> Parameters:
    """The encoder's biases less `moved` (n_features,), each in its own units."""
    if "encoder_bias" in parameters:
        return {"encoder_bias": parameters["encoder_bias"] - moved}
    size = jnp.exp(parameters["log_magnitude"])
    return {
        "gate_bias": parameters["gate_bias"] - moved,
        "magnitude_bias": parameters["magnitude_bias"] - size * moved,
    }


def _arrays(architecture: str) -> list[str]:
    biases = ["gate_bias", "magnitude_bias", "log_magnitude"] if architecture == "gated" else ["encoder_bias"]
    jumps = ["threshold"] if architecture.startswith("jumprelu") else []
    skips = ["skip"] if "skip" in architecture else []
    return ["encoder", *biases, *jumps, *skips, "decoder", "decoder_bias"]


def _settings(config: dict[str, Any]) -> DictionarySettings:
    """What `encode` needs to know; the numbers of training are not in the file."""
    architecture, features = config["architecture"], config["d_sae"]
    if architecture == "topk":
        return TopkSettings(architecture="topk", features=features, k=config["k"])
    if architecture == "standard":
        return ReluSettings(architecture="relu", features=features, coefficient=0.0)
    if architecture == "gated":
        return GatedSettings(architecture="gated", features=features, coefficient=0.0)
    if architecture in ("jumprelu", "jumprelu_transcoder", "jumprelu_skip_transcoder"):
        return JumpreluSettings(architecture="jumprelu", features=features, coefficient=0.0)
    raise ValueError(f"architecture {architecture!r} is not read here (standard, gated, topk, jumprelu…)")
