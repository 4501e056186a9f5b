"""The files of a model that say what may be done with it; they go wherever its weights go."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

_LEGAL = ("LICENSE", "LICENCE", "NOTICE", "USE_POLICY")


def legal_files(names: Iterable[str]) -> list[str]:
    """Those of these file names that are a licence, a notice or a use policy, in order."""
    return sorted(name for name in names if name.upper().startswith(_LEGAL))


def copy_legal_files(source: Path, target: Path) -> None:
    """Copy them from one folder to another that has none of that name yet."""
    for name in legal_files(path.name for path in source.iterdir() if path.is_file()):
        if not (target / name).exists():
            shutil.copyfile(source / name, target / name)
