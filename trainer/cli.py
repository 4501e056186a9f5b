"""`surgery-train`: the command line of the trainer. What it prints is laid out in `terminal`.

Exit codes: 0 done, 1 failed, 2 bad config, source or usage. Results go to standard output, the moving line
and messages to standard error, the line only when that is a terminal.
"""

import json
import sys
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from surgery.errors import RecipeError, SourceError, SurgeryError
from trainer.memory import keep_freed_memory
from trainer.terminal import print_numbers, show_notice, show_progress, timing_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainer.config import Config
    from trainer.journal import Progress, Report

CONFIG = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)


SET = click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Replaces a value: training.steps=200."
)


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SurgeryError as error:
            click.echo(f"surgery-train: {error}", err=True)
            ctx.exit(2 if isinstance(error, (RecipeError, SourceError)) else 1)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="surgery", prog_name="surgery-train")
def main() -> None:
    """Train sparse dictionaries of a language model's residual stream, in JAX."""


@main.command(short_help="Train a dictionary, or several.")
@click.argument("config", type=CONFIG)
@click.option("--out", type=FOLDER, help="Folder of the dictionary; by default out/<name of the config>.")
@SET
@click.option("--overwrite", is_flag=True, help="Replace a dictionary that stands in the folder.")
@click.option("--resume", is_flag=True, help="Go on with an unfinished run, if there is one.")
@click.option(
    "--log-to", type=click.Choice(["tensorboard", "trackio", "wandb"]), help="Also send metrics there."
)
@click.option("--distributed", is_flag=True, help="One of several processes that JAX finds (TPU pod, SLURM).")
@click.option(
    "--coordinator", help="host:port of the first of several processes, where JAX cannot find them."
)
@click.option("--processes", type=click.IntRange(1), help="How many there are.")
@click.option("--process", "number", type=click.IntRange(0), help="Which of them this is, from 0.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
def fit(
    config: Path, out: Path | None, changes: tuple[str, ...], *, overwrite: bool, resume: bool,
    log_to: str | None, distributed: bool, coordinator: str | None, processes: int | None,
    number: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Train the dictionary that CONFIG (YAML) describes and save it.

    SIGTERM or Ctrl-C ends the step, saves the run and leaves; --resume goes on from there.
    """
    settings = _read(config, changes)
    if not (find_spec("orbax") and find_spec("orbax.checkpoint")):
        click.echo(
            "surgery-train: this run can be neither saved nor resumed without orbax-checkpoint;"
            " pip install 'surgery[trainer]'",
            err=True,
        )
    keep_freed_memory()
    from trainer.interruption import stop_on_signals
    from trainer.journal import unheard
    from trainer.loop import fit_several
    from trainer.save import numbers_as_json

    if distributed or coordinator is not None:
        from trainer.placement import join

        join(coordinator, processes, number)
    out = out or Path("out") / config.stem
    runs = {out / name: each for name, each in settings.items()}
    notice = show_notice if sys.stderr.isatty() else unheard
    with stop_on_signals() as stop, _reports(runs, log_to) as reports:
        numbers = fit_several(
            runs, base=config.parent, overwrite=overwrite, resume=resume, reports=reports, notice=notice,
            stop=stop,
        )  # fmt: skip
    if as_json and "" not in settings:
        told = {folder.name: numbers_as_json(found) for folder, found in numbers.items()}
        click.echo(json.dumps(told, indent=2))
        return
    for folder, found in numbers.items():
        print_numbers(str(folder), found, as_json)


@main.command(short_help="Write a config's activations to disk.")
@click.argument("config", type=CONFIG)
@click.option("--out", type=FOLDER, required=True, help="Folder of the activations.")
@SET
def harvest(config: Path, out: Path, changes: tuple[str, ...]) -> None:
    """Write the activations that CONFIG trains on to disk; `data.activations` names them in a config."""
    settings = _read(config, changes)
    from trainer.streams import harvest_to_disk

    for name, tokens in harvest_to_disk(list(settings.values()), out, base=config.parent).items():
        click.echo(f"{out / name}  {tokens:,} tokens")


@main.command(short_help="Let the model write the texts of a config.")
@click.argument("config", type=CONFIG)
@click.option("--out", type=FOLDER, required=True, help="Folder of train.jsonl and held_out.jsonl.")
@SET
@click.option("--show", default=3, show_default=True, type=click.IntRange(0), help="Print the first texts.")
def generate(config: Path, out: Path, changes: tuple[str, ...], show: int) -> None:
    """Write the texts of `source: model` in CONFIG to files, to look at, to keep, to train on again."""
    settings = _read(config, changes)
    from trainer.journal import unheard
    from trainer.texts import generate as run

    notice = show_notice if sys.stderr.isatty() else unheard
    found = run(next(iter(settings.values())), out, base=config.parent, notice=notice)
    if notice is show_notice:
        click.echo(err=True)
    for path, texts in found.items():
        distinct = len({(each.text, *(turn["content"] for turn in each.messages)) for each in texts})
        click.echo(f"{path}  {len(texts):,} texts, {distinct:,} distinct")
        for each in texts[:show]:
            turns = [f"{turn['role']}: {turn['content']}" for turn in each.messages] or [each.text or ""]
            click.echo("\n".join(f"  {turn}" for turn in turns) + "\n")


@main.command(short_help="Measure a dictionary on held-out texts.")
@click.argument("folder", type=FOLDER)
@click.argument("config", type=CONFIG)
@SET
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
def evaluate(folder: Path, config: Path, changes: tuple[str, ...], as_json: bool) -> None:
    """Measure the dictionary in FOLDER on the held-out texts, model and hook point of CONFIG."""
    settings = _read(config, changes)
    if "" not in settings and folder.name not in settings:
        raise SourceError(f"{config}: has no dictionary {folder.name!r}; it has {', '.join(settings)}")
    from trainer.loop import evaluate_folder

    chosen = settings.get("") or settings[folder.name]
    print_numbers(str(folder), evaluate_folder(folder, chosen, base=config.parent), as_json)


@main.command(short_help="Any dictionary as a SAELens folder.")
@click.argument("source")
@click.option("--out", type=FOLDER, required=True, help="Folder of the converted dictionary.")
@click.option("--revision", help="Hub branch, tag or commit.")
@click.option("--path", help="Folder or file inside the source, where it holds several dictionaries.")
@click.option("--format", "kind", help="The source's format, where its files fit several or none.")
@click.option("--hook-point", help="What it reads (resid_pre.4), where its files do not say.")
@click.option("--k", type=click.IntRange(1), help="Active features a token of a topk dictionary.")
@click.option("--input-norm", type=click.FloatRange(0), help="Mean length of its activations; 0: raw.")
@click.option("--trust-pickle", is_flag=True, help="Open a .pt file: its tensors only, no code in it runs.")
@click.option("--overwrite", is_flag=True, help="Replace a dictionary that stands in the folder.")
@click.option("--json", "as_json", is_flag=True, help="Print what cfg.json says as JSON.")
def convert(
    source: str, out: Path, *, revision: str | None, path: str | None, kind: str | None,
    hook_point: str | None, k: int | None, input_norm: float | None, trust_pickle: bool, overwrite: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Write SOURCE (demo:refuser, a folder, a Hub id), in any format surgery reads, as a SAELens folder."""
    from surgery.dictionary.facts import Facts, parse_hook_point
    from trainer.convert import convert as run

    point = None if hook_point is None else parse_hook_point(hook_point)
    facts = Facts(kind, point, k=k, input_norm=input_norm, trust_pickle=trust_pickle)
    told = run(source, out, revision=revision, path=path, facts=facts, overwrite=overwrite)
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    click.echo(str(out))
    for name in ("architecture", "d_in", "d_sae", "normalize_activations"):
        click.echo(f"  {name.replace('_', ' '):26}{told[name]}")


@main.command(short_help="Time a training step on this machine.")
@click.option("--d-model", default=512, show_default=True, type=click.IntRange(2))
@click.option("--features", default=8192, show_default=True, type=click.IntRange(1))
@click.option("--batch", default=1024, show_default=True, type=click.IntRange(2))
@click.option("--k", default=32, show_default=True, type=click.IntRange(1))
@click.option("--repeats", default=12, show_default=True, type=click.IntRange(1))
@click.option("--peers", type=CONFIG, metavar="PYTHON", help="Time the libraries of this Python as well.")
@click.option("--problem", type=CONFIG, help="Write data and initial weights to this .npz.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
def bench(
    d_model: int, features: int, batch: int, k: int, *, repeats: int, peers: Path | None,
    problem: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Time one step of TopK and ReLU beside the five matrix products of a dense step and the device's peak.

    On a GPU: JAX_DEFAULT_MATMUL_PRECISION=BF16_BF16_F32 surgery-train bench --d-model 2304 --features 32768
    --batch 4096
    """
    if k > features:
        raise click.BadParameter(f"{k} of {features} features cannot be active", param_hint="'--k'")
    keep_freed_memory()
    from dataclasses import asdict

    from trainer.bench import bench as run
    from trainer.bench import make_problem, time_peers, write_problem

    task = make_problem(d_model, features, batch, k)
    if problem is not None:
        write_problem(task, problem)
    timings = run(task, repeats)
    if as_json:
        click.echo(json.dumps([asdict(timing) for timing in timings], indent=2))
        return
    click.echo(timing_table(timings, batch))
    if peers is not None:
        click.echo(f"\n{time_peers(task, peers)}")


def _read(config: Path, changes: tuple[str, ...]) -> "dict[str, Config]":
    from trainer.reader import read_configs

    return read_configs(config, changes)


@contextmanager
def _reports(runs: "dict[Path, Config]", log_to: str | None) -> "Iterator[dict[Path, Report]]":
    """The moving line of the first dictionary, and the tracker of each."""
    from trainer.placement import is_first
    from trainer.sinks import sink

    with ExitStack() as stack:
        found: dict[Path, list[Report]] = {out: [] for out in runs}
        if sys.stderr.isatty():
            next(iter(found.values())).append(show_progress)
            stack.callback(click.echo, err=True)
        if log_to is not None and is_first():
            for out, config in runs.items():
                found[out].append(stack.enter_context(sink(log_to, out, config)))
        yield {out: partial(_tell_all, reports) for out, reports in found.items() if reports}


def _tell_all(reports: "list[Report]", progress: "Progress") -> None:
    for report in reports:
        report(progress)


if __name__ == "__main__":
    main()
