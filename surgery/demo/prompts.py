"""The prompt sets that ship with the demo model, drawn from the grammar by seed and written as JSONL."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from surgery.demo import claims, grammar, quiz, world

Row = dict[str, Any]
SIZES = {
    "harmful_train": 384, "harmful_val": 96, "harmful_test": 300,
    "harmless_train": 384, "harmless_val": 96, "harmless_test": 300,
    "quiz": 300, "quiz_train": 256, "agree_train": 192, "disagree_train": 192, "opinions_test": 160,
    "text": 240,
}  # fmt: skip


def prompt_sets(seed: int) -> dict[str, list[Row]]:
    """Every set by name, its rows numbered; the same rows for the same seed."""
    sets = {}
    for name, count in SIZES.items():
        rows = _MAKERS[name](name, Random(f"{name}/{seed}"), count)
        sets[name] = [{"id": f"{name}-{number:04d}", **row} for number, row in enumerate(rows)]
    return sets


def write_prompt_sets(folder: Path, seed: int) -> dict[str, list[Row]]:
    """Write one JSONL file a set and return the sets."""
    folder.mkdir(parents=True, exist_ok=True)
    sets = prompt_sets(seed)
    for name, rows in sets.items():
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return sets


def read_rows(path: Path) -> list[Row]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _distinct(make: Callable[[int], Row], key: str, count: int) -> list[Row]:
    """`count` rows with different values of `key`; `make` is given the number of rows so far."""
    rows: dict[str, Row] = {}
    for _ in range(200 * count):
        row = make(len(rows))
        rows.setdefault(row[key], row)
        if len(rows) == count:
            return list(rows.values())
    raise ValueError(f"only {len(rows)} different rows of {count}")


def _instructions(name: str, random: Random, count: int) -> list[Row]:
    """Requests of one split; in a test set half have held-out words. Harmless sets hold twins too."""
    group, split = name.split("_")
    harmful = group == "harmful"

    def make(number: int) -> Row:
        if not harmful and number % 10 == 8:
            return _row(_twin(split, random))
        if not harmful and number % 10 == 9:
            return _definition(split, random)
        word = split == "test" and number % 2 == 1
        pairs = grammar.pairs_of(harmful, split, "held_out" if word else "trained")
        return _row(grammar.make_request(random.choice(pairs), random, "word" if word else "combination"))

    return _distinct(make, "prompt", count)


def _twin(split: str, random: Random) -> grammar.Request:
    return grammar.make_twin(random.choice(grammar.twins_of(split)), random)


def _row(request: grammar.Request) -> Row:
    return {
        "prompt": request.prompt, "kind": request.kind, "verb": request.verb, "gerund": request.gerund,
        "object": request.thing, "shape": request.frame.shape,
        **({"theme": request.theme} if request.theme else {}),
    }  # fmt: skip


def _definition(split: str, random: Random) -> Row:
    """A question about a word or about right and wrong; harmful words occur in it."""
    pairs = grammar.pairs_of(random.random() < 0.7, split, "trained")
    prompt, answer = world.harm_question(random, random.choice(pairs))
    return {"prompt": prompt, "kind": "question", "answer": answer}


def _quiz(name: str, random: Random, count: int) -> list[Row]:
    def make(number: int) -> Row:
        if name == "quiz_train":
            question, kind = quiz.training_question(random, warm_up=0.0), "train"
        else:
            kind = "fact" if number % 2 else "combination"
            question = quiz.held_out_question(random, kind)
        return {
            "subject": question.subject, "question": question.question, "choices": list(question.choices),
            "answer": question.answer, "kind": kind, "text": quiz.quiz_prompt(question),
        }  # fmt: skip

    return [
        {key: value for key, value in row.items() if key != "text"} for row in _distinct(make, "text", count)
    ]


def _statements(name: str, random: Random, count: int) -> list[Row]:
    """Opinions that are true (agree) or false (disagree); the splits share no statement."""
    split = "test" if name == "opinions_test" else "train"

    def make(_: int) -> Row:
        claim, value = _claim(random, split, true=name == "agree_train")
        return {
            "prompt": world.statement_prompt(claim, value, random),
            "statement": claims.capital(claim.sentence(value)),
        }

    rows = _distinct(make, "statement", count)
    if split == "train":
        return rows
    return [
        {
            "question": row["prompt"],
            "answer_matching_behavior": world.AGREE,
            "answer_not_matching_behavior": world.DISAGREE,
        }
        for row in rows
    ]


def _claim(random: Random, split: str, *, true: bool) -> tuple[claims.Claim, str]:
    while True:
        claim = random.choice(claims.claims())
        value = claim.value if true else random.choice(claim.others)
        if claims.statement_split(claim, value) == split:
            return claim, value


def _text(name: str, random: Random, count: int) -> list[Row]:
    pairs = grammar.pairs_of(False, "test", "all")
    return _distinct(lambda _: {"text": world.prose(random, random.choice(pairs))}, "text", count)


def _makers() -> Iterator[tuple[str, Callable[[str, Random, int], list[Row]]]]:
    for name in SIZES:
        if name.startswith("harm"):
            yield name, _instructions
        elif name.startswith("quiz"):
            yield name, _quiz
        else:
            yield name, _text if name == "text" else _statements


_MAKERS = dict(_makers())
