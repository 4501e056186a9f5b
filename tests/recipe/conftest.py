"""A demo folder with empty files under the real names, and a recipe that is right in every key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from surgery.demo import sources

FULL = """\
# A recipe that uses every room.
name: full
seed: 7
model: {source: demo:refuser, dtype: float32}
direction:
  refusal:
    find: difference_of_means
    positive: demo:harmful
    negative: {source: demo:harmless, count: 64}
    select: {rule: arditi, layers: [1, 2], below: 0.9}
    reconstruct:
      dictionary: demo:refuser
      k: 2
  saved: {find: file, path: saved.safetensors, layer: 3}
edit:
  - {ablate: refusal, strength: 1.0, writers: [attention_out, mlp_out]}
  - {add: saved, layer: 2, scale: {norm: 10}}
verify:
  refusal: {prompts: demo:harmful_test, edited: {at_most: 0.05, bound: upper95}}
  drift: {prompts: prompts.jsonl, kl_first: {at_most: 1e-1}}
output: {folder: out/full, form: peft}
"""


@pytest.fixture(scope="module")
def demo_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Stands in for the demo's files, so that these tests need none of them."""
    assets = tmp_path_factory.mktemp("refuser")
    for name in ("model", "dictionary", "prompts"):
        (assets / name).mkdir()
    for name in ("harmful_train", "harmless_train", "harmful_test", "harmless_test"):
        (assets / "prompts" / f"{name}.jsonl").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "ASSETS", assets)
        yield assets


@pytest.fixture(scope="module")
def recipe_folder(demo_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that FULL names; the demo's files stand in their place."""
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "saved.safetensors").touch()
    (folder / "prompts.jsonl").touch()
    return folder


@pytest.fixture
def full(recipe_folder: Path) -> Path:
    """The path of a file that holds FULL."""
    path = recipe_folder / "full.yaml"
    path.write_text(FULL, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def full_text() -> str:
    """The text of the recipe that uses every room."""
    return FULL
