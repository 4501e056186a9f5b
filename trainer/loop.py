"""A run from its config to its folder; readable top to bottom.

    texts -> feed of activations -> input scale -> steps -> fold -> held-out numbers -> folder

One line of `metrics.jsonl` every `log_every` steps. There the loss and the weights are checked: a number that
is not finite ends the run with `DivergenceError`, and `last_good.safetensors` in the unfinished folder holds
the arrays of the last line before.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from surgery.errors import DictionaryError, SourceError, SurgeryError
from trainer import __version__
from trainer.card import card
from trainer.config import Config, TrainingSettings
from trainer.evaluate import evaluate
from trainer.feed import Feed
from trainer.harvest_torch import Subject, check_hook, load_subject, passes, tokenize
from trainer.normalization import estimate_scale, fold
from trainer.parameters import Parameters, is_finite
from trainer.save import hook_name, read_dictionary, saelens_config, staged, write_dictionary, write_json
from trainer.sources import documents, model_folder
from trainer.step import Numbers, TrainState, initial_state, make_step
from trainer.tokens import Row, Tokens, rows_of

FIRST_TOKENS = 65_536  # how many tokens the input scale and the decoder bias are estimated on


class DivergenceError(SurgeryError):
    """The loss or a weight is no longer a finite number."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands after `step` of `steps`; rates are over the whole run so far."""

    step: int
    steps: int
    numbers: dict[str, float]
    seconds: float
    tokens_per_second: float

    @property
    def seconds_left(self) -> float:
        """At the speed so far."""
        return self.seconds / self.step * (self.steps - self.step)


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Trained:
    """What the steps leave: arrays for inputs at norm √d, and the scale that brings them there."""

    parameters: Parameters
    scale: float
    tokens_harvested: int


def fit(
    config: Config, out: Path, *, base: Path = Path(), overwrite: bool = False, report: Report | None = None
) -> dict[str, Any]:
    """Train as `config` says and leave the dictionary in `out`; the numbers of its metrics.json.

    Relative paths in the config start at `base`. Raises: SourceError, OutputError, DivergenceError.
    """
    with staged(out, overwrite=overwrite) as staging:
        subject = load_subject(model_folder(config.model.source, base), config.model)
        check_hook(subject, config.hook)
        texts = tokenize(subject, documents(config.data.train, base), config.data)
        feed = Feed(passes(subject, texts, config.hook, config.data, config.seed), config.buffer)
        trained = train(feed, config, staging, report)
        parameters = fold(trained.parameters, trained.scale)
        numbers = evaluate(
            subject, held_out_rows(subject, config, base), config, parameters, config.dictionary
        )
        numbers = {**numbers, **_run_facts(config, trained)}
        metadata = _metadata(config, subject)
        write_dictionary(staging, parameters, saelens_config(config.dictionary, feed.d_model, metadata))
        write_json(staging / "metrics.json", numbers)
        (staging / "README.md").write_text(card(config, numbers), encoding="utf-8")
        (staging / "last_good.safetensors").unlink(missing_ok=True)
    return numbers


def evaluate_folder(folder: Path, config: Config, *, base: Path = Path()) -> dict[str, Any]:
    """The held-out numbers of the dictionary in `folder`, with the config's model, hook point and texts.

    Raises: DictionaryError when the folder is none, or belongs to another hook point or width; SourceError.
    """
    saved = read_dictionary(folder)
    if saved.hook_name and saved.hook_name != hook_name(config.hook):
        raise DictionaryError(
            f"{folder}: was trained at {saved.hook_name}, the config says {hook_name(config.hook)}"
        )
    subject = load_subject(model_folder(config.model.source, base), config.model)
    check_hook(subject, config.hook)
    width = saved.parameters["decoder"].shape[1]
    if width != subject.model.config.hidden_size:
        raise DictionaryError(
            f"{folder}: d_model is {width}, the model's is {subject.model.config.hidden_size}"
        )
    return evaluate(subject, held_out_rows(subject, config, base), config, saved.parameters, saved.settings)


def held_out_rows(subject: Subject, config: Config, base: Path) -> list[Row]:
    """The held-out texts as rows of tokens. Raises: SourceError when none is left."""
    texts: list[Tokens] = tokenize(subject, documents(config.data.held_out, base), config.data)
    if not any(any(text.keep) for text in texts):
        raise SourceError("data.held_out holds no token to measure on; name a source that is not empty")
    return rows_of(texts, config.data.context, packed=config.data.packed)


def train(feed: Feed, config: Config, folder: Path, report: Report | None = None) -> Trained:
    """All steps, on what `feed` draws; lines go to `<folder>/metrics.jsonl`. Raises: DivergenceError."""
    training = config.training
    first = feed.first_rows(FIRST_TOKENS)
    scale = estimate_scale(first)
    start_key, draw_key = jax.random.split(jax.random.key(config.seed))
    state = initial_state(start_key, first * scale, config.dictionary)
    good = _copied(state.parameters)
    advance, started = make_step(config.dictionary, training), time.perf_counter()
    for step in range(1, training.steps + 1):
        x = feed.draw(jax.random.fold_in(draw_key, step), training.batch)
        state, numbers = advance(state, x, jnp.float32(scale))
        if step % training.log_every == 0 or step == training.steps:
            good = _checked(state, numbers, step, good, folder, scale)
            progress = _progress(step, training, numbers, time.perf_counter() - started)
            _log(folder / "metrics.jsonl", progress)
            if report is not None:
                report(progress)
    return Trained(good, scale, feed.harvested)


def _copied(parameters: Parameters) -> Parameters:
    return {name: jnp.array(array, copy=True) for name, array in parameters.items()}


def _checked(
    state: TrainState, numbers: Numbers, step: int, good: Parameters, folder: Path, scale: float
) -> Parameters:
    """A copy of the state's arrays, out of the memory that the next step reuses.

    Raises: DivergenceError when the loss or an array is not finite; `good` is then saved.
    """
    parameters = _copied(state.parameters)
    if math.isfinite(float(numbers["loss"])) and is_finite(parameters):
        return parameters
    kept = folder / "last_good.safetensors"
    save_file({name: np.asarray(array) for name, array in fold(good, scale).items()}, kept)
    raise DivergenceError(
        f"step {step}: the loss ({float(numbers['loss']):g}) or a weight is no longer a finite number; the "
        f"arrays of the last line of metrics.jsonl are kept in {kept}; lower training.learning_rate"
    )


def _progress(step: int, training: TrainingSettings, numbers: Numbers, seconds: float) -> Progress:
    measured = {name: float(value) for name, value in numbers.items()}
    return Progress(step, training.steps, measured, seconds, step * training.batch / seconds)


def _log(path: Path, progress: Progress) -> None:
    line = {"step": progress.step, **progress.numbers, "seconds": round(progress.seconds, 2)}
    with path.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line) + "\n")


def _run_facts(config: Config, trained: Trained) -> dict[str, Any]:
    return {
        "steps": config.training.steps,
        "tokens_trained": config.training.steps * config.training.batch,
        "tokens_harvested": trained.tokens_harvested,
        "input_scale": trained.scale,
        "seed": config.seed,
    }


def _metadata(config: Config, subject: Subject) -> dict[str, Any]:
    return {
        "model_name": subject.name,
        "hook_name": hook_name(config.hook),
        "hook_head_index": None,
        "context_size": config.data.context,
        "prepend_bos": subject.tokenizer.bos_token_id is not None,
        "dataset_path": ", ".join(source.source for source in config.data.train),
        "trainer": f"surgery-train {__version__}",
        "seed": config.seed,
    }
