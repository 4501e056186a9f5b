"""Where the files of the demo model are: a `demo:` name becomes a path inside the package.

Reads nothing but the file system, so that a recipe is checked without torch or transformers.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from surgery.errors import SourceError

PREFIX = "demo:"
ASSETS = Path(__file__).parent / "refuser"
MODELS = ("refuser",)
_SPLIT_SETS = ("harmful", "harmless")
_FILES = {
    **{f"{name}{suffix}": f"{name}{suffix or '_train'}.jsonl"
       for name in _SPLIT_SETS for suffix in ("", "_train", "_val", "_test")},
    "quiz": "quiz.jsonl",
    "quiz_train": "quiz_train.jsonl",
    "agree": "agree_train.jsonl",
    "agree_train": "agree_train.jsonl",
    "disagree": "disagree_train.jsonl",
    "disagree_train": "disagree_train.jsonl",
    "opinions_test": "opinions_test.jsonl",
    "text": "text.jsonl",
}  # fmt: skip


def is_demo(source: str) -> bool:
    """Whether a source names something of the demo."""
    return source.startswith(PREFIX)


def model_folder(name: str) -> Path:
    """The folder of the demo model, `demo:refuser`.

    Raises:
        SourceError: no demo model has this name, or its files are not installed.
    """
    return _existing(ASSETS / "model", _known(name, MODELS, "model"))


def dictionary_folder(name: str) -> Path:
    """The folder of the dictionary trained on the demo model, `demo:refuser`.

    Raises:
        SourceError: no demo dictionary has this name, or its files are not installed.
    """
    return _existing(ASSETS / "dictionary", _known(name, MODELS, "dictionary"))


def prompt_file(name: str) -> Path:
    """The JSONL file of a demo set; without a suffix `demo:harmful` is the training split.

    Raises:
        SourceError: no demo set has this name, or its file is not installed.
    """
    key = _known(name, tuple(_FILES), "prompt set")
    return _existing(ASSETS / "prompts" / _FILES[key], key)


def _known(name: str, names: tuple[str, ...], what: str) -> str:
    """The name without its prefix, or an error that lists what there is."""
    key = name.removeprefix(PREFIX)
    if is_demo(name) and key in names:
        return key
    close = get_close_matches(key, names, n=1)
    hint = f"; did you mean '{PREFIX}{close[0]}'?" if close else "."
    listed = ", ".join(f"{PREFIX}{each}" for each in names)
    raise SourceError(f"no demo {what} is called '{name}'{hint} There are: {listed}")


def _existing(path: Path, key: str) -> Path:
    if not path.exists():
        raise SourceError(
            f"{PREFIX}{key} is part of this package, but {path} is missing; "
            "reinstall the package, or make its files with 'surgery demo build'"
        )
    return path
