"""`surgery`: finds the command in its own file only when it is asked for, so that help answers at once."""

from __future__ import annotations

import signal
import sys
from importlib import import_module

import click

from surgery.errors import RecipeError, SourceError, SurgeryError

COMMANDS = {
    "anatomy": "list the writers of a model and prove that they are all",
    "apply": "run a recipe: find, edit, write, verify",
    "audit": "check a finished result again, from its bytes alone",
    "check": "read recipes and report everything wrong with them",
    "demo": "build the embedded model again from its seed",
    "diff": "say what changed between two checkpoints, and what kind of edit it was",
    "dictionary": "look at a sparse dictionary: its facts, its fit on a model, its features",
    "reproduce": "write the bytes of a finished result again from its lock, and compare",
    "schema": "print the JSON Schema of a recipe, for editors",
    "sweep": "measure a recipe over numbers of features, strengths or layers",
    "upload": "publish a result, adapter, dictionary or directions on the Hub: private, whole, compared",
}
"""Command → one line; each lives in `surgery/cli/<command>.py` as a function of the same name."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"surgery.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            from surgery.recipe.suggestions import did_you_mean

            ctx.fail(f"No such command '{args[0]}'{did_you_mean(args[0], COMMANDS) or '.'}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="surgery")
def cli() -> None:
    """Steered and abliterated checkpoints of open-weight language models.

    Exit codes: 0 done, 1 failed, 2 bad recipe or usage, 3 done but a gate failed.
    """


def main() -> None:
    """Run the command line; an error of the library or of the system becomes a message and an exit code."""
    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP; under nohup it stays ignored
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _interrupt)
    try:
        sys.exit(cli.main(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort) as error:
        notes = getattr(error.__cause__ or error, "__notes__", None)  # click raises Abort from the interrupt
        click.echo("\n".join(notes or ["stopped"]), err=True)
        sys.exit(1)
    except SurgeryError as error:
        from surgery.cli.console import print_error

        print_error(error)
        sys.exit(2 if isinstance(error, (RecipeError, SourceError)) else 1)
    except OSError as error:
        place = error.filename or "standard output, or a file that was being written"
        click.echo(f"error: {place}: {error.strerror or error}", err=True)
        sys.exit(1)


def _interrupt(*_: object) -> None:
    """SIGTERM and a closed terminal are Ctrl-C: what was begun is taken away or kept to be resumed, first."""
    raise KeyboardInterrupt
