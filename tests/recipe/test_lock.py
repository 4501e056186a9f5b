"""The lock file: a recipe that says what ran, the same bytes each time, and what has changed since."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from surgery.recipe import LoadedRecipe, check_lock, load_recipe, write_lock
from surgery.recipe.finding import FindDifferenceOfMeans, FindFile
from surgery.recipe.lock import lock_text
from surgery.recipe.reader import parse_recipe
from surgery.recipe.yaml_tree import read_yaml

RESOLVED: dict[str, Any] = {
    "model": {"commit": None, "files": {"model.safetensors": "12e4567"}},
    "prompts": {"demo:harmful": {"sha256": "aa", "count": 128}},
    "directions": {"refusal": "bb"},
    "dictionaries": {"demo:refuser": "cc"},
    "versions": {"torch": "2.13", "surgery": "0.1.0"},
}


def locked(full: Path, name: str = "lock", **changes: Any) -> LoadedRecipe:
    path = full.with_name(f"{name}.yaml")
    write_lock(path, load_recipe(full), RESOLVED | changes)
    return load_recipe(path)


def test_a_lock_is_the_same_recipe_with_its_defaults_and_one_more_key(full: Path) -> None:
    before, after = load_recipe(full), locked(full)
    assert after.recipe.resolved is not None
    saved = after.recipe.direction["saved"]
    assert isinstance(saved, FindFile)
    assert after.resolve(saved.path) == full.parent / "saved.safetensors"
    names = {"direction": before.recipe.direction, "verify": before.recipe.verify, "resolved": None}
    assert after.recipe.model_copy(update=names) == before.recipe
    assert after.name == "full"


def test_values_come_back_as_they_were(full: Path) -> None:
    resolved = locked(full).recipe.resolved
    digest = hashlib.sha256(full.read_bytes()).hexdigest()
    assert resolved == {
        **RESOLVED,
        "model": {"files": {"model.safetensors": "12e4567"}},
        "recipe": {"sha256": digest},
    }


def test_equal_runs_write_equal_bytes(full: Path) -> None:
    loaded, folder = load_recipe(full), full.parent
    backwards = {key: RESOLVED[key] for key in reversed(RESOLVED)}
    assert lock_text(loaded, RESOLVED, folder) == lock_text(load_recipe(full), backwards, folder)


def test_the_lock_of_a_lock_is_the_same_lock(full: Path) -> None:
    lock = locked(full)
    again = locked(Path(str(lock.path)), "again")
    assert again.text == lock.text


def test_overrides_are_baked_in(full: Path) -> None:
    path = full.with_name("set.yaml")
    write_lock(path, load_recipe(full, overrides=["seed=9", "edit[0].strength=0.5"]), RESOLVED)
    recipe = load_recipe(path).recipe
    assert (recipe.seed, recipe.edit.steps[0].model_dump()["strength"]) == (9, 0.5)


def test_the_recipes_own_name_is_kept_without_a_name_key(full: Path) -> None:
    path = full.with_name("nameless.yaml")
    path.write_text(full.read_text(encoding="utf-8").replace("name: full\n", ""), encoding="utf-8")
    write_lock(full.with_name("surgery.lock.yaml"), load_recipe(path), RESOLVED)
    assert load_recipe(full.with_name("surgery.lock.yaml")).name == "nameless"


def test_paths_are_rewritten_relative_to_where_the_lock_lies(full: Path) -> None:
    absolute = full.with_name("absolute.yaml")
    text = full.read_text(encoding="utf-8").replace("prompts.jsonl", str(full.with_name("prompts.jsonl")))
    absolute.write_text(text, encoding="utf-8")
    values = yaml.safe_load(lock_text(load_recipe(absolute), RESOLVED, full.parent / "out" / "x" / "surgery"))
    assert values["direction"]["saved"]["path"] == "../../../saved.safetensors"
    assert values["verify"]["drift"]["prompts"]["source"] == str(full.with_name("prompts.jsonl"))
    assert values["direction"]["refusal"]["positive"]["source"] == "demo:harmful"
    assert values["model"]["source"] == "demo:refuser"
    assert values["output"]["folder"] == "out/full"


def test_a_path_in_the_home_folder_stays_one(full: Path) -> None:
    values = yaml.safe_load(full.read_text(encoding="utf-8"))
    values["verify"]["drift"]["prompts"] = "~/prompts.jsonl"
    loaded = parse_recipe(yaml.safe_dump(values), path=full, look_for_files=False)
    lock = yaml.safe_load(lock_text(loaded, RESOLVED, full.parent / "out"))
    assert lock["verify"]["drift"]["prompts"]["source"] == "~/prompts.jsonl"


def test_a_moved_prompt_set_is_resolved_under_its_new_name(full: Path) -> None:
    folder = full.parent / "deeper"
    folder.mkdir(exist_ok=True)
    prompts = {"prompts.jsonl": {"sha256": "aa"}, "demo:harmful": {"sha256": "bb"}}
    write_lock(folder / "lock.yaml", load_recipe(full), {"prompts": prompts})
    lock = load_recipe(folder / "lock.yaml")
    now = {"../prompts.jsonl": {"sha256": "aa"}, "demo:harmful": {"sha256": "bb"}}
    assert check_lock(lock, {"prompts": now}) == []


def test_commits_are_written_into_the_recipes_own_keys(full: Path) -> None:
    hub = full.with_name("hub.yaml")
    text = full.read_text(encoding="utf-8")
    text = text.replace("demo:refuser", "org/it", 1).replace(
        "positive: demo:harmful", "positive: {source: o/p, file: f}"
    )
    text = text.replace("dictionary: demo:refuser", "dictionary: o/d\n      path: layer_4/").replace(
        "dictionary: org/it", "dictionary: o/d\n      path: layer_4/"
    )
    hub.write_text(text, encoding="utf-8")
    write_lock(
        full.with_name("pinned.yaml"),
        load_recipe(hub),
        {
            "model": {"commit": "1234567"},
            "prompts": {"o/p/f": {"commit": "0e1"}},
            "dictionaries": {"o/d/layer_4": {"sha256": "cc", "commit": "0e2"}},
        },
    )
    recipe = load_recipe(full.with_name("pinned.yaml")).recipe
    refusal = recipe.direction["refusal"]
    assert isinstance(refusal, FindDifferenceOfMeans)
    assert (recipe.model.revision, refusal.positive.revision, refusal.negative.revision) == (
        "1234567",
        "0e1",
        None,
    )
    assert refusal.reconstruct is not None and refusal.reconstruct.revision == "0e2"


def test_no_difference_where_nothing_changed(full: Path) -> None:
    assert check_lock(locked(full), RESOLVED) == []
    assert check_lock(load_recipe(full), RESOLVED) == []


def test_differences_are_sentences(full: Path) -> None:
    now = {
        "model": {"commit": None, "files": {"model.safetensors": "ff"}},
        "prompts": {"demo:harmful": {"sha256": "dd", "count": 128}, "new": {"sha256": "ee"}},
        "directions": {"refusal": "bb"},
        "dictionaries": {},
        "versions": {"torch": "2.14", "surgery": "0.1.0"},
        "recipe": {"sha256": "anything"},
    }
    assert check_lock(locked(full), now) == [
        "dictionary demo:refuser was cc, now absent",
        "model: files model.safetensors was 12e4567, now ff",
        "prompt set demo:harmful: sha256 was aa, now dd",
        "prompt set new: sha256 was absent, now ee",
        "version of torch was 2.13, now 2.14",
    ]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20))
@example("no")
@example("1e5")
@example("0o17")
@example("007")
@example("")
@example("~")
@example("a: b #c")
@example("line\nline\n")
@example("\x85\u2028\x1b")
def test_any_text_survives(full_text: str, recipe_folder: Path, word: str) -> None:
    path = recipe_folder / "words.yaml"
    path.write_text(full_text, encoding="utf-8")
    text = lock_text(load_recipe(path), {"versions": {"x": word}}, recipe_folder)
    assert read_yaml(text, "lock").value["resolved"]["versions"]["x"] == word


def test_resolved_must_be_a_mapping(full: Path) -> None:
    path = full.with_name("odd.yaml")
    path.write_text(full.read_text(encoding="utf-8") + "resolved: 3\n", encoding="utf-8")
    with pytest.raises(Exception, match="resolved: expected a mapping from names, found 3"):
        load_recipe(path)
