"""A tiny random model of the same kind as a given one, on which an anatomy is proved before it is used.

The twin keeps what decides where things are written: model type, biases, norms, tying, activation, soft caps,
every kind of layer, whether o_proj is square, whether keys and values are shared between heads. It shrinks
only sizes. Weights are drawn at unit output scale, norm gains and biases away from their neutral values, so
that a writer that is missed, or a gain that is ignored, shows at full size instead of hiding behind an
initialisation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surgery.errors import AnatomyError
from surgery.model.loading import auto_class, quiet_transformers
from surgery.model.twin_config import shrink
from surgery.model.twin_sizes import PUBLISHED, VOCABULARY

_SPREAD = 0.3


def build_twin(config: Mapping[str, Any], folder: Path, *, seed: int) -> Path:
    """Make the twin of a config.json and save it, in float32, with transformers' own writer.

    Args:
        config: the content of the model's config.json.
        folder: where to save it; made if it does not exist.
        seed: of the random weights.

    Returns:
        The folder.

    Raises:
        AnatomyError: transformers cannot build a model from this config.
    """
    import torch

    try:
        with quiet_transformers(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # some start a gain or a bias from chance
            small = shrink(config)
            network = auto_class(config).from_config(small, dtype=torch.float32)
    except AnatomyError:
        raise
    except Exception as error:  # config classes raise whatever their own validators do
        raise AnatomyError(
            f"model type {config.get('model_type')!r}: no twin can be built to prove anatomy on ({error});"
            " check that config.json is the model's own"
        ) from error
    _randomise(network, seed)
    with quiet_transformers():
        network.save_pretrained(folder)
    _name_as_published(folder, str(config.get("model_type")))
    return folder


def _name_as_published(folder: Path, model_type: str) -> None:
    """Give the tensors of a saved twin the names of published checkpoints, where transformers loads those but
    saves others.
    """
    if model_type not in PUBLISHED:
        return
    from safetensors.torch import load_file, save_file

    saved, published = PUBLISHED[model_type]
    path = folder / "model.safetensors"
    tensors = {name.replace(saved, published): value for name, value in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})


def _randomise(network: Any, seed: int) -> None:
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in sorted(network.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1:
                parameter.add_(_SPREAD * noise)  # a gain or a bias: keep its neutral value as the centre
            else:
                # Experts in one tensor lie either way round: the mean of both sides is the scale of one.
                power = 0.25 if parameter.dim() == 3 else 0.5
                scale = 1.0 if parameter.shape[0] == VOCABULARY else float(parameter[0].numel()) ** power
                parameter.copy_(noise / scale)
