"""What a path holds that can be handed on: a result of `surgery apply`, or a part that stands for itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from surgery.compare.lora import is_adapter
from surgery.edit.recheck import RECORD
from surgery.errors import SourceError
from surgery.publish.adapter import describe_adapter
from surgery.publish.bundle import Bundle
from surgery.publish.dictionary import describe_dictionary, is_dictionary
from surgery.publish.directions import describe_directions, is_directions
from surgery.publish.part import Part, read_part
from surgery.publish.result import read_result

_PARTS: tuple[tuple[Callable[[Path], bool], Callable[[Path], Part]], ...] = (
    (is_directions, describe_directions),
    (is_adapter, describe_adapter),
    (is_dictionary, describe_dictionary),
)


def read_bundle(place: Path, name: str, *, base: str | None = None, licence: str | None = None) -> Bundle:
    """What would be sent from `place` to the repository `name`.

    Args:
        base: Hub id of the base model, where the files do not name it, as a result does not that was made
            from a folder.
        licence: the Hub's id of a licence, where their README names none.

    Raises:
        SourceError: nothing is there, or nothing that can be handed on, or a result's card names already what
            was given.
        UploadError: it lacks what nothing is sent without.
    """
    if not place.exists():
        raise SourceError(f"{place}: no such file or folder")
    if (place / RECORD).is_dir():
        return read_result(place, name, base=base, licence=licence)
    for fits, describe in _PARTS:
        if fits(place):
            return read_part(place, describe, name, base=base, licence=licence)
    raise SourceError(
        f"{place}: has no {RECORD}/ record, so it is no output folder of a `surgery apply`, and it is no"
        " adapter, no dictionary and no safetensors file of directions either"
    )
