"""A run from its config to its folder; readable top to bottom.

texts -> feed of activations -> scales -> steps -> fold -> held-out numbers -> folder
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import jax.numpy as jnp

from surgery.errors import DictionaryError
from trainer import __version__, journal
from trainer.card import card
from trainer.checkpoint import Checkpoint, load_checkpoint
from trainer.config import Config
from trainer.evaluate import Evaluation, evaluate
from trainer.feed import Feed
from trainer.interruption import Stop, never
from trainer.journal import Notice, Report, unheard
from trainer.lock import pinned, read_lock, write_lock
from trainer.normalization import fold
from trainer.page import page
from trainer.placement import over
from trainer.save import (
    hook_names,
    numbers_as_json,
    read_dictionary,
    saelens_config,
    staged,
    unfinished,
    write_density,
    write_dictionary,
    write_json,
)
from trainer.sources import model_folder
from trainer.streams import streams_of
from trainer.subject.model import Subject, check_hook, load_subject
from trainer.texts import held_out_rows
from trainer.tokens import Row
from trainer.training import Trained, in_turns, start, steps


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
    reports = {} if report is None else {out: report}
    several = fit_several(
        {out: config}, base=base, overwrite=overwrite, resume=resume, reports=reports, stop=stop
    )
    return several[out]


def fit_several(
    runs: Mapping[Path, Config], *, base: Path = Path(), overwrite: bool = False, resume: bool = False,
    reports: Mapping[Path, Report] | None = None, notice: Notice = unheard, stop: Stop = never,
) -> dict[Path, dict[str, Any]]:  # fmt: skip
    """`fit` of several dictionaries by the folder of each, from the same forward passes of the model. Their
    configs differ in `hook` and `dictionary` only (`SeveralConfig.each`). `notice` hears what goes on before
    the first step and after the last."""
    with ExitStack() as stack:
        folders = {
            out: stack.enter_context(_staging(out, overwrite=overwrite, resume=resume)) for out in runs
        }
        runs = _pinned(runs, folders, base, resume=resume)
        shared = next(iter(runs.values()))
        notice(f"loading {shared.model.source}")
        subject = load_subject(model_folder(shared.model, base), shared.model)
        for config in runs.values():
            check_hook(subject, config.hook)
        notice("reading the texts")
        held_out = held_out_rows(subject, shared, base, notice)  # a mistake in them must not wait for the end
        with over(shared.devices):
            begun = _begin(runs, folders, subject, base, resume=resume, notice=notice)
            told = reports or {}
            trained = in_turns(
                [
                    steps(feed, runs[out], folders[out], at, unfinished(out), report=told.get(out), stop=stop)
                    for out, (feed, at) in begun.items()
                ]
            )
        notice("measuring on the held-out texts")
        return {
            out: _finish(config, folders[out], each, subject, held_out)
            for (out, config), each in zip(runs.items(), trained, strict=True)
        }


def _finish(
    config: Config, staging: Path, trained: Trained, subject: Subject, held_out: Sequence[Row]
) -> dict[str, Any]:
    parameters = fold({name: jnp.asarray(array) for name, array in trained.arrays.items()}, trained.scales)
    measured = evaluate(subject, held_out, config, parameters, config.dictionary)
    numbers = {**measured.numbers, **_run_facts(config, trained)}
    if lock := read_lock(staging):
        numbers["commits"] = lock
    told = saelens_config(config.dictionary, parameters, _metadata(config, subject))
    write_dictionary(staging, parameters, told)
    _write_reports(staging, config, measured._replace(numbers=numbers))
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


def _pinned(
    runs: Mapping[Path, Config], folders: Mapping[Path, Path], base: Path, *, resume: bool
) -> dict[Path, Config]:
    """The runs with commits for Hub ids, which go into a lock in each folder."""
    first, shared = next(iter(runs.items()))
    told, lock = pinned(shared, base, read_lock(unfinished(first)) if resume else {})
    for folder in folders.values():
        write_lock(folder, lock)
    return {
        out: config.model_copy(update={"model": told.model, "data": told.data})
        for out, config in runs.items()
    }


def _begin(
    runs: Mapping[Path, Config], folders: Mapping[Path, Path], subject: Subject, base: Path, *, resume: bool,
    notice: Notice,
) -> dict[Path, tuple[Feed, Checkpoint]]:  # fmt: skip
    """Every run before its next step. Feeds that are new are filled in turns, batch by batch."""
    streams = streams_of(list(runs.values()), subject, base, notice)
    # only to resume: the first process may still be clearing what a run before has left
    known = {
        out: load_checkpoint(unfinished(out), config) if resume else None for out, config in runs.items()
    }
    feeds: dict[Path, Feed] = {}
    for (out, config), stream in zip(runs.items(), streams, strict=True):
        at = known[out]
        feeds[out] = Feed(stream, config.buffer, None if at is None else (at.buffer, at.cursor))
        journal.cut_after(folders[out], 0 if at is None else at.step)
    for _ in zip_longest(*(feed.filling() for out, feed in feeds.items() if known[out] is None)):
        first = next(iter(feeds.values()))
        notice(f"filling the buffer: {first.harvested:,} tokens, it holds {first.capacity:,}")
    width = subject.model.config.hidden_size
    return {out: (feed, known[out] or start(feed, runs[out], width)) for out, feed in feeds.items()}


def _write_reports(folder: Path, config: Config, measured: Evaluation) -> None:
    write_density(folder, measured.density)
    write_json(folder / "metrics.json", numbers_as_json(measured.numbers))
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
    config = pinned(config, base, read_lock(folder))[0]
    subject = load_subject(model_folder(config.model, base), config.model)
    check_hook(subject, config.hook)
    width = saved.parameters["decoder"].shape[1]
    if width != subject.model.config.hidden_size:
        raise DictionaryError(
            f"{folder}: d_model is {width}, the model's is {subject.model.config.hidden_size}"
        )
    rows = held_out_rows(subject, config, base)
    return evaluate(subject, rows, config, saved.parameters, saved.settings).numbers


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
