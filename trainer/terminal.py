"""What the commands show: tables of numbers on standard output, one moving line on standard error."""

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from trainer.bench import Timing
    from trainer.journal import Progress

SHOWN = ("tokens", "fvu", "l0", "dead_share", "loss_recovered", "kl_spliced", "mean_squared_correlation")


def show_progress(progress: "Progress") -> None:
    """Write the line of a run over the one before."""
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    numbers = progress.numbers
    line = (
        f"step {progress.step:,}/{progress.steps:,}   loss {numbers['loss']:.4f}   "
        f"FVU {numbers['fvu_batch']:.4f}   L0 {numbers['l0']:.1f}   dead {numbers['dead_share']:.1%}   "
        f"{progress.tokens_per_second:,.0f} tokens/s   {minutes}:{seconds:02d} left"
    )
    show_notice(line)


def show_notice(text: str) -> None:
    """Write a line over the one before."""
    click.echo(f"\r\033[K{text}", nl=False, err=True)


def print_numbers(title: str, numbers: dict[str, Any], as_json: bool) -> None:
    """The numbers of metrics.json that answer how good a dictionary is, or all of them as JSON."""
    if as_json:
        from trainer.save import numbers_as_json

        click.echo(json.dumps(numbers_as_json(numbers), indent=2))
        return
    click.echo(title)
    for name in SHOWN:
        value = numbers[name]
        click.echo(
            f"  {name.replace('_', ' '):26}{value:,}"
            if isinstance(value, int)
            else f"  {name.replace('_', ' '):26}{value:.4f}"
        )


def timing_table(timings: "list[Timing]", batch: int) -> str:
    """A line for each timing; the first is the device's peak, the second the roof of a dense step."""
    peak, roof = timings[:2]
    lines = [
        f"{'':8}{'min ms':>9}{'median ms':>11}{'of the roof':>13}{'TFLOP/s':>10}{'of the peak':>13}"
        f"{'tokens/s':>12}{'first FVU':>12}"
    ]
    for timing in timings:
        line = f"{timing.name:8}{timing.least:9.1f}{timing.median:11.1f}"
        line += " " * 13 if timing is peak else f"{roof.median / timing.median:13.2f}"
        if timing.teraflops is not None and peak.teraflops is not None:
            line += f"{timing.teraflops:10.3f}{timing.teraflops / peak.teraflops:13.2f}"
        else:
            line += " " * 23
        line += " " * 12 if timing is peak else f"{1000 * batch / timing.least:12,.0f}"
        line += "" if timing.first_loss is None else f"{timing.first_loss:12.6f}"
        lines.append(line.rstrip())
    return "\n".join(lines)
