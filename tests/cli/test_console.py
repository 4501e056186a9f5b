"""What the terminal shows: widths, no escape codes in a pipe, every gate, every problem at its place."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from rich.cells import cell_len
from rich.console import Console

from surgery.cli import console as console_module
from surgery.cli.console import LiveProgress, open_console, print_error, print_plan, print_report
from surgery.cli.layout import joined, wrapped
from surgery.cli.progress import Standing, progress_text
from surgery.errors import Problem, RecipeError, SourceError
from surgery.verify.statistics import Estimate

HOSTILE = "a\x1b[31mred\u202e [bold]x[/bold] " + "w" * 200


@pytest.fixture(scope="module")
def example() -> ModuleType:
    path = Path(__file__).parent.parent / "report" / "example_report.py"
    spec = spec_from_file_location("example_report", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def _shown(report: object, width: int) -> list[str]:
    stream = io.StringIO()
    print_report(report, open_console(stream, width=width))
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 100, 110])
@pytest.mark.parametrize("kind", ["example", "failed", "hostile"])
def test_no_line_is_wider_than_the_terminal(example: ModuleType, width: int, kind: str) -> None:
    report = example.hostile_report(HOSTILE) if kind == "hostile" else getattr(example, f"{kind}_report")()
    lines = _shown(report, width)
    assert max(map(cell_len, lines)) <= (width if width >= 80 else 80)
    assert not any("\x1b" in line or "\u202e" in line for line in lines)
    stream = io.StringIO()
    print_plan(example.plan(), open_console(stream, width=width))
    assert max(map(cell_len, stream.getvalue().splitlines())) <= width


@pytest.mark.parametrize("width", [80, 110])
def test_the_sections_are_headings_in_the_recipes_order(example: ModuleType, width: int) -> None:
    lines = _shown(example.example_report(), width)
    headings = [line.split()[0] for line in lines[2:] if line and line[0] != " "]
    assert [each for each in headings if not each.startswith("demo")] == [
        "direction",
        "dictionary",
        "edit",
        "verify",
        "output",
    ]
    assert lines[0].startswith("refusal_k2")
    assert any("#624   +0.52" in line for line in lines)
    assert lines[-1].endswith("41 s")


@pytest.mark.parametrize("width", [80, 110])
def test_every_number_has_its_interval_or_n_and_every_gate_its_verdict(
    example: ModuleType, width: int
) -> None:
    report = example.example_report()
    lines = _shown(report, width)
    text = re.sub(r"\s+", " ", " ".join(lines))
    for row in (*report.verification.rows, *report.verification.controls):
        line = next(each for each in lines if re.match(rf"(verify)? +{re.escape(row.label)}  ", each))
        assert str(row.n) in line
        if row.change is not None:
            assert re.search(r"\[ *[−+]?[\d.]+, +[−+]?[\d.]+\]", line)
        if row.gate is not None:
            assert f"{row.gate.text}" in text
    assert "needs n ≥ 180" in text
    assert "pass, ≤ 3.6 %" in text
    assert "p95 0.110, max 0.350" in text


def test_a_label_that_is_too_long_stands_above_its_numbers(example: ModuleType) -> None:
    report = example.failed_report()
    label = "random direction: refusal, harmful, of another direction"
    rows = tuple(replace(row, label=label) for row in report.verification.rows if row.gate is not None)
    measured = replace(report.verification, controls=rows)
    lines = _shown(replace(report, verification=measured), 80)
    assert max(map(cell_len, lines)) <= 80
    above = [index for index, line in enumerate(lines) if line.strip() == label]
    assert len(above) == len(rows) > 0
    assert all(re.match(r" +[\d.]+", lines[index + 1]) for index in above)


def test_a_plan_begins_with_its_directions(example: ModuleType) -> None:
    stream = io.StringIO()
    findings = example.example_report().directions
    print_plan(example.plan(), open_console(stream, width=80), findings=findings)
    lines = stream.getvalue().splitlines()
    screen = _shown(example.example_report(), 80)
    start, end = (
        next(i for i, each in enumerate(screen) if each.startswith(w)) for w in ("direction", "edit")
    )
    assert lines[: end - start] == screen[start:end]


def test_numbers_of_one_column_end_at_one_place(example: ModuleType) -> None:
    lines = _shown(example.example_report(), 110)
    start = next(index for index, line in enumerate(lines) if line.startswith("verify"))
    base_end = lines[start].index("base") + len("base")
    edited_end = lines[start].index("edited") + len("edited")
    for line in lines[start + 1 : start + 9]:
        if "needs n" in line:
            continue
        assert line[edited_end - 1] in "%0123456789" and line[edited_end] == " "
        assert line[base_end - 1] in "% 0123456789" and line[base_end] == " "


def test_a_failed_gate_ends_the_screen(example: ModuleType) -> None:
    lines = _shown(example.failed_report(), 110)
    assert lines[-1].startswith("failed      refusal, harmful is 42.0 % and was to be ≤ 5 % (fail")
    assert not any(line.startswith("failed") for line in _shown(example.example_report(), 110))


def test_without_a_measurement_the_screen_says_so(example: ModuleType) -> None:
    lines = _shown(replace(example.example_report(), verification=None), 80)
    assert "verify      nothing was measured: the recipe has no verify section" in lines


def test_a_number_that_is_none_is_a_dash(example: ModuleType) -> None:
    report = example.example_report()
    nothing = Estimate(float("nan"), float("nan"), float("nan"))
    row = replace(report.verification.rows[4], edited=nothing, detail={"p95": float("inf")}, gate=None)
    lines = _shown(replace(report, verification=replace(report.verification, rows=(row,))), 80)
    assert any(re.search(r"KL first token\s+–\s+p95 –", line) for line in lines)


def test_a_pipe_gets_no_escape_codes_and_a_terminal_gets_colour(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    piped, terminal = io.StringIO(), Terminal()
    print_report(example.failed_report(), open_console(piped))
    assert "\x1b" not in piped.getvalue()
    print_report(example.failed_report(), open_console(terminal, width=110))
    assert "\x1b[1;31mfail" in terminal.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    print_report(example.failed_report(), open_console(plain, width=110))
    assert not re.search(r"\x1b\[[\d;]*3\dm", plain.getvalue())
    assert re.sub(r"\x1b\[[\d;]*m", "", plain.getvalue()) == piped.getvalue()


def test_a_pipe_is_as_wide_as_columns_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_console(io.StringIO()).width == console_module.PIPED_WIDTH
    monkeypatch.setenv("COLUMNS", "84")
    assert open_console(io.StringIO()).width == 84


def test_a_stream_that_cannot_say_minus_still_gets_the_screen(example: ModuleType) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    print_report(example.example_report(), open_console(stream, width=100))
    stream.flush()
    assert b"refusal, harmful" in raw.getvalue() and b"?100.0" in raw.getvalue()


def test_the_plan_groups_layers_and_adds_up(example: ModuleType) -> None:
    stream = io.StringIO()
    print_plan(example.plan(), open_console(stream, width=110))
    text = stream.getvalue()
    assert "model.layers.{0–5}.self_attn.o_proj.weight" in text
    assert "6 × attention_out · axis 0 of 128 × 128 F32 · 393.2 kB · refusal 1" in text
    assert "the output of attention of its layer is added to the stream" in text
    assert "model.embed_tokens.weight\n" in text and "axis 1" in text
    assert "total       13 tensors, 1.2 of 3.7 MB, rounding nearest" in text
    assert "disk        3.7 MB" in text and text.endswith("nothing was written.\n")
    empty = io.StringIO()
    print_plan(replace(example.plan(), edits=(), notes=("nothing is edited",)), open_console(empty))
    assert empty.getvalue().startswith("edit        nothing\n")


def test_a_plan_names_a_single_tensor_whole(example: ModuleType) -> None:
    plan = example.plan()
    stream = io.StringIO()
    print_plan(replace(plan, edits=plan.edits[:2]), open_console(stream))
    assert "model.layers.0.self_attn.o_proj.weight\n" in stream.getvalue()
    assert "the output of attention of layer 0 is" in stream.getvalue()


PROBLEMS = (
    Problem("unknown key; did you mean 'find'?", "direction.refusal.fnd", "broken.yaml", 4, 3),
    Problem(
        "expected a whole number ≥ 1, found '2 '", "direction.refusal.reconstruct.k", "broken.yaml", 12, 21
    ),
    Problem("not YAML"),
)


def test_sides_of_other_items_say_of_how_many_each_is(example: ModuleType) -> None:
    report = example.example_report()
    rows = [
        replace(row, base=row.edited, n_base=2) if row.label == "on topic, harmful" else row
        for row in report.verification.rows
    ]
    shown = _shown(replace(report, verification=replace(report.verification, rows=tuple(rows))), 80)
    line = next(line for line in shown if "on topic, harmful" in line)
    assert line.split()[3:] == ["92.0", "%", "92.0", "%", "of", "2", "and", "of", "100", "100"]
    assert max(map(cell_len, shown)) <= 80


def test_experts_and_layers_each_have_their_own_range(example: ModuleType) -> None:
    plan = example.plan()
    names = [
        f"model.layers.{layer}.mlp.experts.{expert}.w2.weight" for layer in (1, 2) for expert in range(4)
    ]
    edits = tuple(replace(plan.edits[-1], tensor=name, layer=int(name.split(".")[2])) for name in names)
    stream = io.StringIO()
    print_plan(replace(plan, edits=edits), open_console(stream))
    assert "model.layers.{1–2}.mlp.experts.{0–3}.w2.weight" in stream.getvalue()


def test_problems_of_a_recipe_stand_in_two_columns() -> None:
    stream = io.StringIO()
    print_error(RecipeError(*PROBLEMS), open_console(stream))
    assert stream.getvalue().splitlines() == [
        "broken.yaml:4:3      direction.refusal.fnd: unknown key; did you mean 'find'?",
        "broken.yaml:12:21    direction.refusal.reconstruct.k: expected a whole number ≥ 1, found '2 '",
        "                     not YAML",
        "3 problems; nothing was run.",
    ]
    one = io.StringIO()
    print_error(RecipeError("give --set as path=value"), open_console(one))
    assert one.getvalue() == "give --set as path=value\n1 problem; nothing was run.\n"


@pytest.mark.parametrize("width", [40, 80])
def test_errors_are_broken_on_a_terminal_and_only_there(width: int) -> None:
    for error in (RecipeError(*PROBLEMS), SourceError("x: " + "long words " * 30), SourceError("y" * 300)):
        stream = Terminal()
        print_error(error, open_console(stream, width=width))
        assert max(map(cell_len, re.sub(r"\x1b\[[\d;]*m", "", stream.getvalue()).splitlines())) <= width
    piped = io.StringIO()
    print_error(SourceError("x: " + "long words " * 30), open_console(piped, width=width))
    assert len(piped.getvalue().splitlines()) == 1


def test_an_error_is_plain_and_cannot_act() -> None:
    stream = Terminal()
    print_error(SourceError(f"no such {HOSTILE}"), open_console(stream, width=400))
    assert stream.getvalue().startswith("error: no such a⟨U+001B⟩[31mred⟨U+202E⟩ [bold]x[/bold]")


def test_progress_is_silent_in_a_pipe() -> None:
    stream = io.StringIO()
    with LiveProgress(open_console(stream)) as progress:
        progress.stage("verify")
        progress.advance(1, 2, "refusal")
    assert stream.getvalue() == ""


def test_progress_is_one_line_that_goes_away() -> None:
    stream = Terminal()
    with LiveProgress(Console(file=stream, width=60, force_terminal=True)) as progress:
        progress.stage("verify")
        progress.advance(40, 100, "refusal " + "x" * 100)
        progress.advance(100, 100, "choice")
    text = stream.getvalue()
    assert "verify" in text and "choice 100 of 100" in text
    assert text.endswith("\x1b[2K") or "\x1b[?25h" in text
    assert not re.search(r"[^\x1b\r\n]{61,}", re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "\r", text))


def _interrupted(progress: LiveProgress) -> None:
    with progress:
        progress.stage("edit")
        raise KeyboardInterrupt


def test_progress_ends_when_the_run_does() -> None:
    stream = Terminal()
    progress = LiveProgress(Console(file=stream, width=60, force_terminal=True))
    with pytest.raises(KeyboardInterrupt):
        _interrupted(progress)
    shown = stream.getvalue()
    assert "edit" in shown and "\x1b[?25h" in shown
    progress.advance(1, 2, "after the end nothing is drawn")
    assert stream.getvalue() == shown


def test_how_far_how_fast_how_long() -> None:
    assert (
        progress_text(Standing("refusal", 40, 100, 0, 4.0)) == "refusal 40 of 100 · 10.0 per s · 6.0 s left"
    )
    assert progress_text(Standing("refusal", 100, 100, 0, 10.0)) == "refusal 100 of 100 · 10.0 per s"
    assert progress_text(Standing("refusal", 1, 100, 0, 0.2)) == "refusal 1 of 100"
    assert (
        progress_text(Standing("bytes", 10**9, 4 * 10**9, 0, 2.0))
        == "1.0 GB of 4.0 GB · 500.0 MB per s · 6.0 s left"
    )
    assert progress_text(Standing("resumed", 60, 100, 50, 5.0)).endswith("2.0 per s · 20 s left")


def test_text_is_broken_at_spaces_and_nowhere_lost() -> None:
    assert wrapped("aa bb cc", 5) == ["aa bb", "cc"]
    assert wrapped("aa bb cc", 5, indent="  ") == ["aa bb", "  cc"]
    assert wrapped("abcdefgh", 3) == ["abc", "def", "gh"]
    assert joined(["one", "two", "three"], 9) == ["one · two", "three"]
