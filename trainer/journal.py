"""`metrics.jsonl`: one line every `log_every` steps, and what a terminal shows of it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

JOURNAL = "metrics.jsonl"


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
Notice = Callable[[str], None]  # what a run is doing while no step is done


def unheard(_: str) -> None:
    """The notice of a run that nobody watches."""


def append(folder: Path, progress: Progress) -> None:
    """Add the line of `progress`."""
    line = {"step": progress.step, **progress.numbers, "seconds": round(progress.seconds, 2)}
    with (folder / JOURNAL).open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line) + "\n")


def lines(folder: Path) -> list[dict[str, float]]:
    """All lines so far, in order; one that a kill or a full disk cut short is none."""
    path = folder / JOURNAL
    told = path.read_text("utf-8").splitlines(keepends=True) if path.is_file() else []
    return [json.loads(line) for line in told if line.endswith("\n")]


def cut_after(folder: Path, step: int) -> None:
    """Forget lines of steps after `step`: a run that goes on from there writes them again."""
    if (folder / JOURNAL).is_file():
        kept = [line for line in lines(folder) if line["step"] <= step]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        (folder / JOURNAL).write_text(text, encoding="utf-8")
