"""A finished dictionary measured on held-out texts: FVU, L0, dead share, loss recovered.

The arrays are the folded ones, as they stand in the file: raw activations in, raw reconstructions out.
"""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import jax
import numpy as np

from trainer.architectures import ARCHITECTURES
from trainer.config import Config, DictionarySettings
from trainer.harvest_torch import Subject, harvest, spliced_loss
from trainer.metrics import Tally
from trainer.parameters import Parameters, decode
from trainer.tokens import Row


@partial(jax.jit, static_argnames="settings")
def reconstruct(
    parameters: Parameters, x: jax.Array, settings: DictionarySettings
) -> tuple[jax.Array, jax.Array]:
    """(reconstruction (n, d), dense codes (n, n_features)) of raw activations x (n, d)."""
    codes = ARCHITECTURES[settings.architecture].encode(parameters, x, settings)
    return decode(parameters, codes), codes


def evaluate(
    subject: Subject,
    rows: Sequence[Row],
    config: Config,
    parameters: Parameters,
    settings: DictionarySettings,
) -> dict[str, Any]:
    """All numbers of `metrics.json` for folded parameters on the texts in `rows`."""
    tally = Tally(*parameters["decoder"].shape)
    for x, keep in harvest(subject, rows, config.hook, config.data):
        rebuilt, codes = (np.asarray(array)[keep] for array in reconstruct(parameters, x, settings))
        tally.add(np.asarray(x)[keep], rebuilt, codes)
    splice = spliced_loss(
        subject, rows, config.hook, config.data, lambda x: reconstruct(parameters, x, settings)[0]
    )
    cross_entropy = {name: value for name, value in asdict(splice).items() if name != "tokens"}
    return {
        **tally.result().as_dict(),
        "loss_recovered": splice.loss_recovered,
        "cross_entropy": {**cross_entropy, "predicted_tokens": splice.tokens},
    }
