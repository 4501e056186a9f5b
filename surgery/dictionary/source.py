"""From the name in a recipe to an open dictionary."""

from __future__ import annotations

from surgery.demo.sources import dictionary_folder, is_demo
from surgery.dictionary.dictionary import Dictionary
from surgery.dictionary.saelens import read_saelens
from surgery.hub import fetch_model


def open_dictionary(source: str, *, revision: str | None = None) -> Dictionary:
    """Open `demo:refuser`, a folder, or a Hub repository.

    Raises:
        SourceError: there is nothing under that name.
        DictionaryError: what is there is not a dictionary that can be read exactly.
    """
    folder = dictionary_folder(source) if is_demo(source) else fetch_model(source, revision=revision).folder
    return read_saelens(folder, name=source)
