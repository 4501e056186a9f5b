"""A run from its config to its folder; readable top to bottom.

texts -> feed of activations -> scales -> steps -> fold -> held-out numbers -> folder
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import jax.numpy as jnp

from surgery.errors import DictionaryError, SourceError
from trainer import __version__, harvest_jax, journal, shards
from trainer.card import card
from trainer.checkpoint import CHECKPOINT, load_checkpoint
from trainer.config import Config
from trainer.evaluate import Evaluation, evaluate
from trainer.feed import Feed, Passes
from trainer.harvest_torch import Subject, check_hook, load_subject, passes, passes_at, tokenize
from trainer.interruption import Stop, never
from trainer.journal import Report
from trainer.normalization import fold
from trainer.page import page
from trainer.placement import over
from trainer.save import (
    hook_names,
    read_dictionary,
    saelens_config,
    staged,
    write_density,
    write_dictionary,
    write_json,
)
from trainer.sources import documents, model_folder
from trainer.tokens import Row, Tokens, rows_of
from trainer.training import Trained, start, train


def fit(
    config: Config, out: Path, *, base: Path = Path(), overwrite: bool = False, resume: bool = False,
    report: Report | None = None, stop: Stop = never,
) -> dict[str, Any]:  # fmt: skip
    """Train as `config` says and leave the dictionary in `out`; the numbers of its metrics.json.

    Relative paths in the config start at `base`. With `resume` an unfinished run beside `out` goes on from
    its checkpoint; where there is none, a new one begins. `stop` is asked after every step.
    Every process of a run over several calls this; the first one writes, the others read its checkpoint.

    Raises: SourceError, OutputError, DivergenceError, InterruptedRun.
    """
    with _staging(out, overwrite=overwrite, resume=resume) as staging:
        subject = load_subject(model_folder(config.model.source, base), config.model)
        check_hook(subject, config.hook)
        with over(config.devices):
            # the first process may still be clearing a folder that is not to be resumed
            folders = staging, out.with_name(out.name + ".partial") if resume else staging
            trained = _train(config, folders, subject, base, report, stop)
        parameters = fold(
            {name: jnp.asarray(array) for name, array in trained.arrays.items()}, trained.scales
        )
        rows = held_out_rows(subject, config, base)
        measured = evaluate(subject, rows, config, parameters, config.dictionary)
        numbers = {**measured.numbers, **_run_facts(config, trained)}
        write_dictionary(
            staging, parameters, saelens_config(config.dictionary, parameters, _metadata(config, subject))
        )
        _write_reports(staging, config, measured._replace(numbers=numbers))
        for leftover in (CHECKPOINT, "last_good.safetensors"):
            (staging / leftover).unlink(missing_ok=True)
    return numbers


@contextmanager
def _staging(out: Path, *, overwrite: bool, resume: bool) -> Iterator[Path]:
    """Where this process writes: only the first of several leaves anything."""
    if jax.process_index() > 0:
        with TemporaryDirectory() as scratch:
            yield Path(scratch)
        return
    with staged(out, overwrite=overwrite, resume=resume) as folder:
        yield folder


def _train(
    config: Config, folders: tuple[Path, Path], subject: Subject, base: Path, report: Report | None,
    stop: Stop,
) -> Trained:  # fmt: skip
    staging, saved = folders
    stream = _stream(config, subject, base)
    begun = load_checkpoint(saved, config)
    if begun is None:
        feed = Feed(stream, config.buffer)
        begun = start(feed, config, subject.model.config.hidden_size)
    else:
        journal.cut_after(staging, begun.step)
        feed = Feed(stream, config.buffer, (begun.buffer, begun.cursor))
    return train(feed, config, staging, begun, report=report, stop=stop)


def _stream(config: Config, subject: Subject, base: Path) -> Passes:
    if config.data.activations is not None:
        return shards.passes(base / config.data.activations, config)
    texts = tokenize(subject, documents(config.data.train, base), config.data)
    if config.model.decoder == "jax":
        folder = model_folder(config.model.source, base)
        run = harvest_jax.load_decoder(folder, config.model, config.hook, config.data)
        return harvest_jax.passes(run, texts, config.data, config.seed)
    return passes(subject, texts, config.hook, config.data, config.seed)


def harvest_to_disk(config: Config, out: Path, *, base: Path = Path()) -> dict[str, int]:
    """One pass over `data.train` written to `out` for `data.activations`; tokens by hook point.

    Raises: SourceError, OutputError.
    """
    subject = load_subject(model_folder(config.model.source, base), config.model)
    check_hook(subject, config.hook)
    texts = tokenize(subject, documents(config.data.train, base), config.data)
    parts = passes_at(subject, texts, (config.hook,), config.data, config.seed)(0, 0)
    written = shards.write_shards({config.hook: config}, parts, out)
    return {shards.place_of(out, hook).name: count for hook, count in written.items()}


def _write_reports(folder: Path, config: Config, measured: Evaluation) -> None:
    write_density(folder, measured.density)
    write_json(folder / "metrics.json", measured.numbers)
    (folder / "README.md").write_text(card(config, measured.numbers), encoding="utf-8")
    text = page(config, journal.lines(folder), measured.numbers, measured.density)
    (folder / "training.html").write_text(text, encoding="utf-8")


def evaluate_folder(folder: Path, config: Config, *, base: Path = Path()) -> dict[str, Any]:
    """The held-out numbers of the dictionary in `folder`, with the config's model, hook point and texts.

    Raises: DictionaryError when the folder is none, or belongs to another hook point or width; SourceError.
    """
    saved, wanted = read_dictionary(folder), hook_names(config.hook)["hook_name"]
    if saved.hook_name and saved.hook_name != wanted:
        raise DictionaryError(f"{folder}: was trained at {saved.hook_name}, the config says {wanted}")
    subject = load_subject(model_folder(config.model.source, base), config.model)
    check_hook(subject, config.hook)
    width = saved.parameters["decoder"].shape[1]
    if width != subject.model.config.hidden_size:
        raise DictionaryError(
            f"{folder}: d_model is {width}, the model's is {subject.model.config.hidden_size}"
        )
    rows = held_out_rows(subject, config, base)
    return evaluate(subject, rows, config, saved.parameters, saved.settings).numbers


def held_out_rows(subject: Subject, config: Config, base: Path) -> list[Row]:
    """The held-out texts as rows of tokens. Raises: SourceError when none is left."""
    texts: list[Tokens] = tokenize(subject, documents(config.data.held_out, base), config.data)
    if not any(any(text.keep) for text in texts):
        raise SourceError("data.held_out holds no token to measure on; name a source that is not empty")
    return rows_of(texts, config.data.context, packed=config.data.packed)


def _run_facts(config: Config, trained: Trained) -> dict[str, Any]:
    return {
        "steps": config.training.steps,
        "tokens_trained": config.training.steps * config.training.batch,
        "tokens_harvested": trained.tokens_harvested,
        "input_scale": trained.scales.read,
        "output_scale": trained.scales.write,
        "seed": config.seed,
    }


def _metadata(config: Config, subject: Subject) -> dict[str, Any]:
    return {
        "model_name": subject.name,
        **hook_names(config.hook),
        "hook_head_index": None,
        "context_size": config.data.context,
        "prepend_bos": subject.tokenizer.bos_token_id is not None,
        "dataset_path": ", ".join(source.source for source in config.data.train),
        "trainer": f"surgery-train {__version__}",
        "trained_as": config.dictionary.architecture,
        "seed": config.seed,
    }
