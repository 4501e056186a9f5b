"""The model card: README.md of the edited checkpoint or adapter, with front matter that the Hub reads.

Front matter: `base_model` where the base is a repository of the Hub (a folder's name would mean nothing
there) and with it `base_model_relation`, finetune or adapter, the licence as the base's card states it,
`license_link` the copy beside the weights, `model-index` what was measured. Texts that come from a recipe or
a model are quoted as code, so that they cannot add headings, links or HTML.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from surgery.checkpoint.legal import legal_files
from surgery.hub import is_hub_id
from surgery.report import numbers, statements
from surgery.report.model_index import model_index
from surgery.report.page import TEMPLATES
from surgery.report.report import Report
from surgery.report.text import code, fenced, inline, one_line

_LICENCE_ID = re.compile(r"[a-z0-9][a-z0-9.+-]*")


def write_card(report: Report, folder: Path) -> None:
    """Write the card to `<folder>/README.md`."""
    kept = (folder / "surgery" / "base_README.md").is_file()
    text = model_card(report, base_card_kept=kept)
    (folder / "README.md").write_text(text, encoding="utf-8", errors="backslashreplace")


def model_card(report: Report, *, base_card_kept: bool = False) -> str:
    """The card as Markdown with YAML front matter.

    Args:
        base_card_kept: whether the base model's own card stands in surgery/base_README.md.
    """
    front = yaml.safe_dump(front_matter(report), sort_keys=False, allow_unicode=True, width=1000)
    body = (
        _environment()
        .get_template("card.md.j2")
        .render(report=report, kept=base_card_kept, say=statements, adapter=report.output.form == "peft")
    )
    return f"---\n{front}---\n\n{body.strip()}\n"


def front_matter(report: Report) -> dict[str, Any]:
    """The card's metadata, as the Hub names its fields."""
    adapter = report.output.form == "peft"
    found: dict[str, Any] = {}
    if report.model.commit is not None and is_hub_id(report.model.source):  # it was resolved there
        found["base_model"] = report.model.source
        found["base_model_relation"] = "adapter" if adapter else "finetune"
    found.update(_licence(report.model.licence, report.output.files))
    found["library_name"] = "peft" if adapter else "transformers"
    found["pipeline_tag"] = "text-generation"
    found["tags"] = _tags(report)
    index = model_index(report)
    return {**found, "model-index": index} if index else found


@cache
def _environment() -> Environment:
    # Markdown, not HTML: what is foreign goes through `code`, `fenced` or `inline`.
    made = Environment(
        loader=FileSystemLoader(TEMPLATES, encoding="utf-8"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(code=code, fenced=fenced, inline=inline, legal=legal_files)
    made.globals.update(
        {
            name: getattr(numbers, name)
            for name in ("change", "count", "estimate", "fixed", "items", "part_of_size", "tiny", "verdict")
        }
    )
    return made


def _licence(licence: str | None, files: Sequence[str]) -> dict[str, str]:
    if licence is None:
        return {}
    if _LICENCE_ID.fullmatch(licence):
        return {"license": licence}
    found = {"license": "other", "license_name": one_line(licence)}
    texts = [name for name in legal_files(files) if name.upper().startswith("LIC")]
    return {**found, "license_link": texts[0]} if texts else found


def _tags(report: Report) -> list[str]:
    kinds = {effect.kind for effect in report.edit.effects} - {"unchanged"}
    steered = bool(kinds & {"added", "strengthened"})
    ablated = bool(kinds & {"removed", "weakened", "reversed"})
    return ["surgery", *(["abliterated"] if ablated else []), *(["steered"] if steered else [])]
