"""What README.md promises a stranger: its recipe is right, its commands exist, its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from surgery.cli.main import cli
from surgery.recipe.reader import parse_recipe

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_recipe_is_right_and_so_is_what_it_shows_behind_a_number_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    for folder in re.findall(r"path/to/\w+", text):
        (tmp_path / folder).mkdir(parents=True)
    for file in re.findall(r"\w+\.txt", text):
        (tmp_path / file).touch()
    path = tmp_path / "mine.yaml"
    assert parse_recipe(text, path=path).recipe.verify.refusal is not None
    rebuilt = text.replace("# reconstruct:", "reconstruct:")
    assert parse_recipe(rebuilt, path=path).recipe.direction["refusal"].reconstruct is not None
    added = re.sub(r"  - \{ablate.*\n", "", text).replace("# - {add", "- {add").replace("}}, with", "}} #")
    steps = parse_recipe(added.replace("form: checkpoint", "form: peft"), path=path).recipe.edit.steps
    assert [step.layer for step in steps] == [15]


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)]+)\)", README))))
def test_every_link_leads_somewhere(link: str) -> None:
    assert link.startswith("https://") or (ROOT / link).exists()


@pytest.mark.parametrize("line", sorted(set(re.findall(r"surgery ((?:[a-z]+ )[^`\n#]*)", README))))
def test_every_command_and_option_exists(line: str) -> None:
    command: click.Command = cli
    for word in line.split():
        if isinstance(command, click.Group):
            found = command.get_command(click.Context(command), word)
            assert found is not None, line
            command = found
    options = {name for each in command.params for name in each.opts}
    assert set(re.findall(r"--[a-z-]+", line)) <= options
