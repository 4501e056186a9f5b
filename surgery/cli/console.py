"""What the command line prints: results on standard output, errors and progress on standard error.

Nothing is coloured or moved when the stream is not a terminal; NO_COLOR is honoured.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from io import TextIOWrapper
from types import TracebackType
from typing import IO, TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from surgery.cli.layout import wrapped
from surgery.cli.progress import Standing, progress_text
from surgery.errors import Problem, RecipeError, SurgeryError
from surgery.report.text import one_line, shortened, visible

if TYPE_CHECKING:
    from rich.live import Live

    from surgery.direction.find import Finding
    from surgery.edit.plan import Plan
    from surgery.report.report import Report

_EVERY = 0.1
"""Seconds between two drawings of the progress line."""
PIPED_WIDTH = 110
"""Columns of a result that goes to a file, where COLUMNS does not say otherwise."""


def open_console(stream: IO[str] | None = None, *, width: int | None = None) -> Console:
    """A console on a stream (standard output by default) that never fails on a character it cannot encode."""
    stream = sys.stdout if stream is None else stream
    if isinstance(stream, TextIOWrapper):
        with suppress(ValueError, OSError):
            stream.reconfigure(errors="replace")
    if width is None and not stream.isatty() and not os.environ.get("COLUMNS", "").isdigit():
        width = PIPED_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def print_report(report: Report, console: Console | None = None) -> None:
    """The final screen of a run."""
    from surgery.cli.screen import report_lines

    console = console or open_console()
    print_lines(console, report_lines(report, console.width))


def print_plan(
    plan: Plan,
    console: Console | None = None,
    *,
    findings: Sequence[Finding] = (),
    additions: Sequence[str] = (),
    form: str = "checkpoint",
) -> None:
    """The directions that were found, and what a run would change along them."""
    from surgery.cli.plan_screen import plan_lines

    console = console or open_console()
    lines = plan_lines(plan, console.width, findings=findings, additions=additions, form=form)
    print_lines(console, lines)


def print_error(error: SurgeryError, console: Console | None = None) -> None:
    """An error of the library, on standard error; of a recipe every problem, each at its place."""
    console = console or open_console(sys.stderr)
    if isinstance(error, RecipeError) and error.problems:
        print_lines(console, _problem_lines(error.problems, console))
        return
    first, *rest = visible(str(error) or type(error).__name__).splitlines()
    lines = _hanging(f"error: {first}", 7, console)
    print_lines(console, [*lines, *(each for line in rest for each in _hanging(line, 7, console))])


class LiveProgress:
    """The line, as an observer of a run: `with LiveProgress() as progress: apply(…, observer=progress)`."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or open_console(sys.stderr)
        self._live: Live | None = None
        self._stage = ""
        self._what: tuple[str, int] | None = None
        self._started = self._shown = 0.0
        self._started_at = 0

    def __enter__(self) -> LiveProgress:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            from rich.live import Live

            self._live = Live(
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def stage(self, name: str) -> None:
        """A stage of the run begins."""
        self._stage, self._what, self._shown = name, None, 0.0
        self._show("")

    def advance(self, done: int, total: int, what: str) -> None:
        """`done` of `total` are done; `what` names them, `bytes` are written as such."""
        if self._live is None:
            return
        now = time.monotonic()
        if self._what != (what, total):
            self._what, self._started, self._started_at, self._shown = (what, total), now, done, 0.0
        if now - self._shown >= _EVERY or done >= total:
            self._shown = now
            standing = Standing(what, done, total, self._started_at, now - self._started)
            self._show(progress_text(standing))

    def _show(self, text: str) -> None:
        if self._live is not None:
            line = f"{self._stage.ljust(12)}{one_line(text)}"
            self._live.update(Text(shortened(line, self._console.width - 1)), refresh=True)


def print_lines(console: Console, lines: Iterable[Text]) -> None:
    """Lines as they are: never broken or cut again."""
    for line in lines:
        line.rstrip()
        console.print(line, soft_wrap=True)


def _problem_lines(problems: tuple[Problem, ...], console: Console) -> list[Text]:
    rows = [(visible(each.place), visible(each.sentence)) for each in problems]
    column = max(len(place) for place, _ in rows)
    column = column + 4 if column else 0
    lines = [line for place, text in rows for line in _hanging(f"{place:<{column}}{text}", column, console)]
    noun = "problem" if len(rows) == 1 else "problems"
    return [*lines, Text(f"{len(rows)} {noun}; nothing was run.")]


def _hanging(text: str, indent: int, console: Console) -> list[Text]:
    """One line; on a terminal broken at its width. In a file, made for grep, one line stays one."""
    if not console.is_terminal:
        return [Text(text)]
    indent = min(indent, console.width // 2)
    if len(text) <= console.width:
        return [Text(text)]
    place, sentence = text[:indent].rstrip(), text[indent:]
    if text[:indent].endswith(" ") or not place:
        lines = wrapped(sentence, console.width - indent)
        return [Text(f"{place:<{indent}}{lines[0]}"), *(Text(" " * indent + line) for line in lines[1:])]
    first, *rest = wrapped(text, console.width)
    return [Text(first), *(Text("  " + line) for each in rest for line in wrapped(each, console.width - 2))]
