"""`demo:` names: what they resolve to, and what is said of a name that there is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from surgery.demo import dictionary_folder, is_demo, model_folder, prompt_file, sources
from surgery.errors import SourceError


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("demo:harmful", "harmful_train.jsonl"), ("demo:harmful_train", "harmful_train.jsonl"),
        ("demo:harmful_val", "harmful_val.jsonl"), ("demo:harmful_test", "harmful_test.jsonl"),
        ("demo:harmless", "harmless_train.jsonl"), ("demo:harmless_test", "harmless_test.jsonl"),
        ("demo:quiz", "quiz.jsonl"), ("demo:opinions_test", "opinions_test.jsonl"),
        ("demo:agree", "agree_train.jsonl"),
        ("demo:disagree", "disagree_train.jsonl"), ("demo:text", "text.jsonl"),
    ],
)  # fmt: skip
def test_prompt_names_are_files_of_the_package(name: str, file: str) -> None:
    path = prompt_file(name)
    assert path.name == file and path.is_file()


def test_model_is_a_folder_with_weights() -> None:
    assert (model_folder("demo:refuser") / "model.safetensors").is_file()


def test_only_the_prefix_makes_a_demo_source() -> None:
    assert is_demo("demo:anything") and not is_demo("demo") and not is_demo("./demo:refuser")


def test_unknown_names_are_answered_with_a_suggestion_and_the_list() -> None:
    with pytest.raises(SourceError, match="did you mean 'demo:harmful_test'") as caught:
        prompt_file("demo:harmfull_test")
    assert "demo:opinions_test" in str(caught.value)
    with pytest.raises(
        SourceError, match="no demo model is called 'demo:refuse'; did you mean 'demo:refuser'"
    ):
        model_folder("demo:refuse")
    with pytest.raises(
        SourceError, match=r"no demo dictionary is called 'demo:zzz'\. There are: demo:refuser"
    ):
        dictionary_folder("demo:zzz")


def test_a_name_without_the_prefix_is_unknown() -> None:
    with pytest.raises(SourceError, match="did you mean 'demo:quiz'"):
        prompt_file("quiz")


def test_missing_files_are_told_with_the_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sources, "ASSETS", tmp_path)
    with pytest.raises(SourceError, match="surgery demo build"):
        prompt_file("demo:quiz")


def test_resolving_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, surgery.demo; surgery.demo.prompt_file('demo:quiz'); "
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
