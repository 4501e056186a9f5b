"""The lines of metrics.jsonl sent to a tracker as well: wandb, trackio, or TensorBoard's files.

None of them is needed; each is imported when it is asked for. TensorBoard's files go to `<out>.tensorboard`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from surgery.errors import SourceError
from trainer.config import Config
from trainer.journal import Progress, Report

PACKAGES = {"tensorboard": "tensorboardX", "trackio": "trackio", "wandb": "wandb"}
PROJECT = "surgery-train"


@contextmanager
def sink(kind: str, out: Path, config: Config) -> Iterator[Report]:
    """While open, what is reported goes to `kind`, a key of `PACKAGES`, as the run named like `out`.

    Raises: SourceError when the package is not installed.
    """
    try:
        package = import_module(PACKAGES[kind])
    except ImportError as error:
        raise SourceError(f"--log-to {kind}: not installed: {error}; pip install {PACKAGES[kind]}") from error
    if kind == "tensorboard":
        writer = package.SummaryWriter(str(out.with_name(out.name + ".tensorboard")))
        try:
            yield lambda progress: _add_scalars(writer, progress)
        finally:
            writer.close()
        return
    # a run of its own for each dictionary of a process
    apart = {"reinit": "create_new"} if kind == "wandb" else {}
    run = package.init(project=PROJECT, name=out.name, config=config.model_dump(mode="json"), **apart)
    try:
        yield lambda progress: run.log(_numbers(progress), step=progress.step)
    finally:
        run.finish()


def _numbers(progress: Progress) -> dict[str, float]:
    return {**progress.numbers, "tokens_per_second": progress.tokens_per_second}


def _add_scalars(writer: Any, progress: Progress) -> None:
    for name, value in _numbers(progress).items():
        writer.add_scalar(name, value, progress.step)
