"""The command line's door: what is imported when, and which exit code an error becomes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from surgery.cli import main as door
from surgery.cli.main import COMMANDS, cli, main
from surgery.errors import EditError, RecipeError, SourceError

HEAVY = ("torch", "transformers", "matplotlib", "peft", "jinja2", "huggingface_hub", "jax")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["check", "--help"],
        ["schema"],
        ["apply", "--help"],
        ["upload", "--help"],
        ["reproduce", "--help"],
    ],
)
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom surgery.cli.main import cli\n"
        f"try: cli.main({arguments!r}, standalone_mode=False)\nexcept BaseException as e: assert 'Exit' in"
        " type(e).__name__, e\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("LOADED []\n")


def test_help_lists_every_command_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["--help"], standalone_mode=False)
    shown = capsys.readouterr().out
    places = [shown.index(f"\n  {name}") for name in sorted(COMMANDS)]
    assert places == sorted(places)
    for name, line in COMMANDS.items():
        assert line.split(",")[0][:30] in shown, name


@pytest.mark.parametrize(
    ("error", "code"),
    [(RecipeError("x"), 2), (SourceError("x"), 2), (EditError("x"), 1), (KeyboardInterrupt(), 1)],
)
def test_errors_become_exit_codes(monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(door.cli, "main", fail)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == code


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["appply"], 2, "No such command 'appply'; did you mean 'apply'?"),
        (["check", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["apply", "nowhere.yaml"], 2, "nowhere.yaml"),
        ([], 2, "Usage"),
    ],
)
def test_usage(arguments: list[str], code: int, said: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "surgery", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == code, done
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupt_says_what_it_leaves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Click raises its own exception from the interrupt, which carries what a stopped run has to say."""
    for note, said in (
        ("kept in .out.unfinished", "kept in .out.unfinished"),
        (None, "stopped\n"),
    ):
        interrupt = KeyboardInterrupt()
        if note is not None:
            interrupt.add_note(note)

        def fail(*_: object, _interrupt: KeyboardInterrupt = interrupt, **__: object) -> None:
            raise click.Abort from _interrupt

        monkeypatch.setattr(door.cli, "main", fail)
        with pytest.raises(SystemExit):
            main()
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("finished", [True, False])
def test_an_interrupted_apply_says_whether_its_result_stands(tmp_path: Path, *, finished: bool) -> None:
    """It may meet the screen that shows a result, when all of it is written."""
    from surgery.cli.apply import _saying_what_stands

    if finished:
        (tmp_path / "out").mkdir()
    with pytest.raises(KeyboardInterrupt) as caught, _saying_what_stands(tmp_path / "out"):
        raise KeyboardInterrupt
    (said,) = caught.value.__notes__
    wanted = f"the result stands finished in {tmp_path / 'out'}" if finished else "nothing was left behind"
    assert said == f"stopped; {wanted}"


DOOR = "import os, signal, sys\nfrom surgery.cli import main as door\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_is_an_interrupt_unless_it_is_ignored(name: str) -> None:
    """A closed terminal too, so that what a stopped run has to take away is taken away; nohup still holds."""
    kill = f"door.cli.main = lambda **_: os.kill(os.getpid(), signal.{name})\ndoor.main()\n"
    for before, expected in (("DFL", (1, "stopped\n")), ("IGN", (0, ""))):
        code = f"{DOOR}signal.signal(signal.{name}, signal.SIG_{before})\n{kill}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == expected


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_an_output_that_cannot_be_written_is_a_message() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "surgery", "schema"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: standard output") and "No space left" in done.stderr
    assert "Traceback" not in done.stderr
