"""`surgery dictionary`: what a sparse dictionary is, whether it fits a model, and what its features mean."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from surgery.hook_point import SITES, HookPoint, from_text

if TYPE_CHECKING:
    from surgery.dictionary.dictionary import Dictionary

FORMATS = (
    "saelens", "saex", "gemma_scope", "gemma_scope_2", "llama_scope", "qwen_scope", "openai", "goodfire",
    "circuit_tracer", "sparsify", "dictionary_learning",
)  # fmt: skip
_LEAST_TOKENS = 1000
METHODS = ("gradient_pursuit", "omp", "nonnegative_omp", "fista", "decoder_cosine")


def _hook_point(_: click.Context, __: click.Parameter, text: str | None) -> HookPoint | None:
    found = None if text is None else from_text(text)
    if text is not None and found is None:
        raise click.BadParameter(f"{text!r} is none; write it as resid_pre.4, with one of {', '.join(SITES)}")
    return found


_SOURCE_OPTIONS = (
    click.option("--revision", help="Branch, tag or commit of a Hub repository."),
    click.option("--path", "inside", help="Folder or file inside SOURCE, where it holds several."),
    click.option(
        "--format",
        type=click.Choice(FORMATS),
        metavar="FORMAT",
        help="Which reader to use; default told by the files.",
    ),
    click.option(
        "--hook-point",
        callback=_hook_point,
        help="What it reads: resid_post.20, or blocks.20.hook_resid_post.",
    ),
    click.option("--output-point", callback=_hook_point, help="What it writes, of a transcoder: mlp_out.20."),
    click.option("--k", type=click.IntRange(1), help="Active features a token of a topk dictionary."),
    click.option(
        "--input-norm", type=click.FloatRange(0), help="Mean length of the activations it learnt from."
    ),
    click.option("--trust-pickle", is_flag=True, help="Open a .pt file, as tensors and plain values only."),
)


def _source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_SOURCE_OPTIONS):
        command = option(command)
    return command


@click.group()
def dictionary() -> None:
    """Look at a sparse dictionary: SOURCE is demo:refuser, a folder or file, or a Hub id.

    Formats: SAELens, saex, Gemma Scope 1 and 2, Llama Scope, Qwen Scope, OpenAI, Goodfire,
    circuit-tracer, EleutherAI sparsify,
    dictionary_learning.
    """


@dictionary.command(short_help="Its format, sizes and hook point.")
@click.argument("source")
@_source_options
@click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON.")
@click.option("--sha256", is_flag=True, help="Hash the weights file too; reads all of it.")
def info(source: str, as_json: bool, sha256: bool, **said: Any) -> None:
    """What SOURCE is: format, architecture, sizes, hook point, and what its encoder does."""
    from surgery.cli.dictionary_screen import info_as_json, info_lines

    opened = _open(source, said)
    _print(info_as_json(opened, sha256=sha256), lambda _: info_lines(opened, sha256=sha256), as_json)


@dictionary.command(short_help="Whether it fits a model where it says it does.")
@click.argument("source")
@click.option("--model", "model_name", required=True, help="A folder, a Hub id, or demo:refuser.")
@click.option("--texts", default="demo:text", show_default=True, help="Set of texts, one row each.")
@click.option("--tokens", default=4096, show_default=True, type=click.IntRange(1024), help="At most so many.")
@click.option("--chat", is_flag=True, help="Put each text into the chat template first.")
@_source_options
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
def check(
    source: str, model_name: str, texts: str, tokens: int, chat: bool, as_json: bool, **said: Any
) -> None:
    """Run SOURCE on a model at the hook point it names and one layer to either side.

    Exit codes: 0 it fits there, 1 it could not be measured, 2 bad usage, 3 it fits a neighbour better, or not
    at all.
    """
    from surgery.cli.console import LiveProgress
    from surgery.cli.dictionary_screen import fit_as_json, fit_lines
    from surgery.cli.features_screen import texts_said
    from surgery.errors import VerifyError
    from surgery.model.source import open_prompts
    from surgery.verify.activations import text_windows
    from surgery.verify.dictionary_fit import measure_fit

    opened = _open(source, said)
    with LiveProgress() as progress:
        progress.stage("model")
        model = _load(model_name)
        windows = text_windows(model, open_prompts(texts).prompts, at_most=tokens, chat=chat)
        held = sum(map(len, windows))
        if held < _LEAST_TOKENS:
            raise VerifyError(
                f"{texts}: holds {held} tokens, and {_LEAST_TOKENS:,} tell a fit; name a larger --texts"
            )
        progress.stage("check")
        found = measure_fit(model, opened, windows, progress=progress.advance)
    said_texts = texts_said([texts], chat=chat)
    _print(
        fit_as_json(opened, found), lambda width: fit_lines(opened, model, said_texts, found, width), as_json
    )
    if not found.fits_model:
        sys.exit(3)


@dictionary.command(short_help="What its features mean, as a table and a page.")
@click.argument("source")
@click.option("--model", "model_name", required=True, help="A folder, a Hub id, or demo:refuser.")
@click.option("--direction", type=click.Path(path_type=Path), help="A safetensors file with the direction.")
@click.option("--name", help="Name of the direction, where the file holds several.")
@click.option("--top", default=4, show_default=True, type=click.IntRange(1), help="Features of its code.")
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="gradient_pursuit",
    show_default=True,
    help="How they are found; encoded_difference, which needs prompts, is for recipes.",
)
@click.option(
    "--feature", "numbers", multiple=True, type=click.IntRange(0), help="A feature by number; repeat."
)
@click.option("--texts", multiple=True, help="Sets of prompts or texts; repeat.  [default: demo:text]")
@click.option("--tokens", default=32768, show_default=True, type=click.IntRange(2), help="At most so many.")
@click.option("--chat", is_flag=True, help="Put each text into the chat template first.")
@click.option("--html", type=click.Path(path_type=Path), help="Write the page here.")
@_source_options
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def features(source: str, numbers: tuple[int, ...], html: Path | None, as_json: bool, **said: Any) -> None:
    """Explain features of SOURCE: those that rebuild a direction, or those named by number.

    Each with its strongest texts, how often it fires, and the tokens it makes likelier.
    """
    from surgery.cli.console import LiveProgress
    from surgery.cli.features_screen import Wanted, explain, features_as_json, features_lines
    from surgery.report.features_page import render_features_page

    if (said["direction"] is None) == (not numbers):
        raise click.UsageError("give either --direction FILE or --feature N (once or more)")
    if html is not None and not html.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {html.parent}", param_hint="--html")
    opened = _open(source, said)
    wanted = Wanted(said["direction"], said["name"], said["top"], said["method"], numbers)
    with LiveProgress() as progress:
        progress.stage("model")
        model = _load(said["model_name"])
        progress.stage("features")
        found = explain(
            opened,
            model,
            wanted,
            texts=said["texts"] or ("demo:text",),
            tokens=said["tokens"],
            chat=said["chat"],
            progress=progress.advance,
        )
    if html is not None:
        write_page(html, render_features_page(found))
    _print(features_as_json(found), lambda width: features_lines(found, width), as_json)
    if html is not None and not as_json:
        click.echo(f"page        {html}")


def write_page(path: Path, text: str) -> None:
    """Write a page, or say why that cannot be done."""
    from surgery.errors import OutputError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); name another file") from error


def _open(source: str, said: dict[str, Any]) -> Dictionary:
    from surgery.dictionary.facts import Facts
    from surgery.dictionary.source import open_dictionary

    facts = Facts(**{each.name: said[each.name] for each in fields(Facts)})
    return open_dictionary(source, revision=said["revision"], path=said["inside"], facts=facts)


def _load(name: str) -> Any:
    from surgery.model.loading import load_language_model
    from surgery.model.source import locate_model

    return load_language_model(locate_model(name).folder, name=name)


def _print(value: Any, lines: Callable[[int], Any], as_json: bool) -> None:
    from surgery.cli.console import open_console, print_lines

    if as_json:
        click.echo(json.dumps(value, indent=2))
        return
    console = open_console()
    print_lines(console, lines(console.width))
