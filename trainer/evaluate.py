"""A finished dictionary measured on held-out texts: FVU, L0, dead share, loss recovered.

The arrays are the folded ones, as they stand in the file: raw activations in, raw reconstructions out. For a
transcoder 'reconstruction' means its MLP's output from its MLP's input.
"""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from trainer.architectures import ARCHITECTURES
from trainer.config import Config
from trainer.kinds import DictionarySettings
from trainer.metrics import Tally
from trainer.parameters import Parameters, decode
from trainer.subject.harvest import harvest
from trainer.subject.model import Subject
from trainer.subject.splice import spliced_loss
from trainer.tokens import Row


class Evaluation(NamedTuple):
    """What the held-out texts say of a dictionary."""

    numbers: dict[str, Any]  # of metrics.json
    density: np.ndarray  # (n_features,) share of the tokens that each feature fired on


@partial(jax.jit, static_argnames="settings")
def reconstruct(
    parameters: Parameters, x: jax.Array, settings: DictionarySettings
) -> tuple[jax.Array, jax.Array]:
    """(reconstruction (n, d_out), dense codes (n, n_features)) of raw activations x (n, d_in)."""
    codes = ARCHITECTURES[settings.architecture].encode(parameters, x, settings)
    return decode(parameters, codes, x), codes


def evaluate(
    subject: Subject,
    rows: Sequence[Row],
    config: Config,
    parameters: Parameters,
    settings: DictionarySettings,
) -> Evaluation:
    """Folded parameters measured on the texts in `rows`."""
    tally, d_in = Tally(*parameters["decoder"].shape), parameters["encoder"].shape[1]
    for both, keep in harvest(subject, rows, config.hook, config.data):
        rebuilt, codes = reconstruct(parameters, both[:, :d_in], settings)
        # a transcoder's rows are input and output side by side, any other's end where they begin
        target = np.asarray(both)[keep][:, -rebuilt.shape[1] :]
        tally.add(target, np.asarray(rebuilt)[keep], np.asarray(codes)[keep])
    splice = spliced_loss(
        subject, rows, config.hook, config.data, lambda x: reconstruct(parameters, x, settings)[0]
    )
    metrics = tally.result()
    entropy = {"clean": splice.clean, "zero": splice.zero, "spliced": splice.spliced}
    numbers = {
        **asdict(metrics),
        "loss_recovered": splice.loss_recovered,
        "kl_spliced": splice.kl_spliced,
        "kl_zero": splice.kl_zero,
        "cross_entropy": {**entropy, "predicted_tokens": splice.tokens},
    }
    return Evaluation(numbers, tally.fired / metrics.tokens)
