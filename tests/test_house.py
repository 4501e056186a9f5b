"""The house: which room may import which, and what each may not touch. Read from the source, nothing is
run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = {
    "__main__": 9,
    "cli": 8,
    "apply": 7,
    "artefacts": 7,
    "preparation": 7,
    "sweep": 7,
    "report": 6,
    "publish": 6,
    "reproduction": 7,
    "edit": 5,
    "export": 6,
    "direction": 4,
    "verify": 4,
    "compare": 4,
    "model": 3,
    "dictionary": 3,
    "recipe": 3,
    "checkpoint": 2,
    "hub": 2,
    "demo": 2,
    "linalg": 1,
    "errors": 1,
    "hook_point": 1,
}
GROUND = {"errors", "hook_point"}
"""Nouns of the ground floor that everyone may use, neighbours included."""
SPINE = {"apply", "artefacts", "preparation", "sweep"}
"""The top floor below the command line is one flow in four files, which import each other without a
circle."""
TRAINER_MAY_IMPORT = {
    "surgery.checkpoint",
    "surgery.demo",
    "surgery.dictionary",
    "surgery.errors",
    "surgery.hook_point",
    "surgery.hub",
    "surgery.recipe",
}
BANNED = {"utils", "util", "common", "helpers", "helper", "misc", "manager", "managers"}


def _sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            yield node.module or "", node.lineno


def _room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "surgery" and len(parts) > 1 else None


def test_every_room_has_a_floor() -> None:
    rooms = {_room(_module(path)) for path in _sources("surgery")} - {None}
    assert rooms <= FLOORS.keys()


@pytest.mark.parametrize("path", _sources("surgery"), ids=_module)
def test_imports_go_down(path: Path) -> None:
    here = _room(_module(path))
    if here is None:
        return
    for module, line in _imports(path):
        there = _room(module)
        if there is None or there == here or there in GROUND or {here, there} <= SPINE:
            continue
        assert FLOORS[there] < FLOORS[here], (
            f"{path}:{line}: {here} (floor {FLOORS[here]}) imports {there} (floor {FLOORS[there]})"
        )


def test_there_are_no_circles() -> None:
    modules = {_module(path): path for package in ("surgery", "trainer") for path in _sources(package)}
    graph = {
        name: {target for target, _ in _imports(path) if target in modules and target != name}
        for name, path in modules.items()
        if name != "surgery"
    }
    finished: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail[trail.index(name) :], name))
        if name not in finished:
            for target in graph.get(name, ()):
                visit(target, (*trail, name))
            finished.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("path", _sources("surgery"), ids=_module)
def test_surgery_knows_nothing_of_jax_or_the_trainer(path: Path) -> None:
    roots = {module.split(".")[0] for module, _ in _imports(path)}
    assert not roots & {"jax", "jaxlib", "trainer"}
    if _room(_module(path)) != "cli":
        assert not roots & {"click", "rich"}
    if _room(_module(path)) != "hub" and _module(path) != "surgery.report.card":
        assert "huggingface_hub" not in roots


@pytest.mark.parametrize("path", _sources("trainer"), ids=_module)
def test_the_trainer_keeps_torch_in_one_room(path: Path) -> None:
    for module, line in _imports(path):
        root = module.split(".")[0]
        if path.parent.name != "subject":
            assert root not in {"torch", "transformers"}, f"{path}:{line}"
        if root == "surgery":
            assert any(
                module == allowed or module.startswith(allowed + ".") for allowed in TRAINER_MAY_IMPORT
            ), f"{path}:{line}: {module}"


def test_no_room_has_a_name_that_says_nothing() -> None:
    for package in ("surgery", "trainer", "tests"):
        for path in (ROOT / package).rglob("*.py"):
            assert not BANNED & set(path.relative_to(ROOT).with_suffix("").parts), path
