"""What is handed on without a run of its own: an adapter, a dictionary, a file of directions.

Its card is the README.md beside it with front matter of what the files say; what that README says itself
stays. A title, a description and an example of use are put in where it has none. The manifest is made here.
Files that do not belong to such a thing are not sent, and named.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from surgery.checkpoint.legal import legal_files
from surgery.checkpoint.sums import SUMS_FILE, check_sums
from surgery.errors import SourceError, UploadError
from surgery.hub import is_hub_id
from surgery.publish.bundle import Bundle, make_bundle, on_disk
from surgery.publish.metadata import CARD, card_body, card_fields, card_problems, read_card


@dataclass(frozen=True)
class Part:
    """What one of them says of itself.

    Attributes:
        names: of the files that belong to it.
        fields: its front matter.
        title, about, use: of its card; `use` is for a README that lacks it, too.
    """

    kind: str
    names: tuple[str, ...]
    fields: Mapping[str, Any]
    title: str
    about: str
    use: str
    notes: tuple[str, ...] = field(default=())


def quoted(value: object) -> str:
    """What a file says, as Markdown code that nothing in it can end."""
    return "`" + json.dumps(str(value))[1:-1].replace("`", "'") + "`"


def hub_id(value: object) -> str | None:
    """A Hub id as it is; None for what is none, such as a folder."""
    return value if isinstance(value, str) and is_hub_id(value) and not Path(value).exists() else None


def read_part(
    place: Path, describe: Callable[[Path], Part], name: str, *, base: str | None, licence: str | None
) -> Bundle:
    """Gather a part that is to be sent to the repository `name`.

    Args:
        place: its folder, or its one file.
        describe: reads it.
        base: the Hub id of its base model, where it does not say so itself.
        licence: its licence, where its README does not say so.

    Raises:
        UploadError: a file that would be sent is a link that leads out of the folder.
    """
    part = describe(place)
    folder = place if place.is_dir() else place.parent
    present = sorted(path.name for path in folder.iterdir()) if place.is_dir() else [place.name]
    sent = [each for each in present if each in part.names or each in legal_files(present)]
    if place.is_dir():
        _refuse_links(folder, [*sent, *({CARD, SUMS_FILE} & set(present))])
    own = read_card(folder) if CARD in present else ""
    fields = _fields(part, card_fields(own), base, licence)
    strangers = [each for each in present if each not in (*sent, CARD, SUMS_FILE)]
    card = _card(part, fields, card_body(own))
    found = fields.get("base_model")
    return make_bundle(
        place,
        part.kind,
        {each: on_disk(folder / each) for each in sent if (folder / each).is_file()},
        card,
        name=name,
        base=found if isinstance(found, str) else None,
        problems=(*(check_sums(folder, workers=1) if SUMS_FILE in present else ()), *card_problems(card)),
        notes=(*part.notes, *_left(part, strangers)),
    )


def _refuse_links(folder: Path, names: list[str]) -> None:
    home = folder.resolve()
    for name in names:
        if not (folder / name).resolve().is_relative_to(home):
            raise UploadError(
                f"{folder / name}: leads out of the folder, and is never sent; put the file itself there"
            )


def _fields(part: Part, own: Mapping[str, Any], base: str | None, licence: str | None) -> dict[str, Any]:
    """Front matter: what the files say, over that what the README says, over that what was asked for."""
    if base is not None and not is_hub_id(base):
        raise SourceError(f"--base {base}: is no Hub id like 'organisation/name'")
    asked = {"base_model": base, "license": licence}
    fields = {**part.fields, **own, **{key: value for key, value in asked.items() if value is not None}}
    if "base_model" not in fields:
        fields.pop("base_model_relation", None)
    return fields


def _card(part: Part, fields: Mapping[str, Any], body: str) -> str:
    front = yaml.safe_dump(dict(fields), sort_keys=False, allow_unicode=True, width=1000)
    text = body.strip()
    if not text.startswith("# "):
        text = f"# {part.title}\n\n{part.about.strip()}\n\n{text}".strip()
    if "\n## Use" not in text:
        text += f"\n\n## Use\n\n{part.use.strip()}"
    return f"---\n{front}---\n\n{text}\n"


def _left(part: Part, strangers: list[str]) -> tuple[str, ...]:
    if not strangers:
        return ()
    more = f" and {len(strangers) - 5} more" if len(strangers) > 5 else ""
    return (f"not sent, since it belongs to no {part.kind}: {', '.join(strangers[:5])}{more}",)
