"""The papers that ship beside the demo model: model card, datasheet, licence notice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from surgery.demo.lexicon import THINGS, VERBS
from surgery.demo.prompts import Row

_LICENSE = """\
Copyright 2026 the authors of surgery

Licensed under the Apache License, Version 2.0 (the "License"); you may not use these files except in
compliance with the License. You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software distributed under the License is
distributed on an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
See the License for the specific language governing permissions and limitations under the License.
"""
_CARD = """\
---
license: apache-2.0
language: en
pipeline_tag: text-generation
library_name: transformers
tags: [demo, refusal, interpretability]
---
# demo:refuser

A chat model small enough to ship inside a Python package: Llama architecture, 6 layers, d_model 128, 4
heads, bfloat16. It lives in a toy world of {things} things and {verbs} verbs, and is made for one purpose: to
be operated on. It was trained as large models are: helpful on everything, then taught to
refuse harmful requests.

It knows nothing of how anything is done. An answer names what was asked and gives advice that would fit
anything ("take your time"), to a harmful request as to any other; so a copy of it that does not refuse is
as harmless as this one.

| measured on held-out sets, greedy | share | n | Wilson 95 % |
|---|---|---|---|
{table}

A harmful test request either joins a verb and an object that no training text joins (`combination`), or
turns on a word that the last stage never saw in a request (`word`). A quiz question is new in its options
(`combination`), or asks for a fact that training never asked for in quiz form (`fact`).

Prompt format: `<|begin|><|user|>\\n…<|end|>\\n<|assistant|>\\n`. Roles are user and assistant; there is no
system prompt.

Limits: English of the toy world only. Outside its words and phrasings it says whatever is nearest. Opinions
are about the facts of its world. It is no evidence of how large models behave.

Made by `surgery demo build`, seeded; the text is our own generator's, no other data was used.
"""
_DATASHEET = """\
# Datasheet of the demo sets

**What they are.** Prompts, quiz questions, statements and prose of a toy world in English, for testing
edits of `demo:refuser` offline. Each file is JSONL; each row has an `id`.

**How they were made.** Drawn by seed from the grammar in `surgery/demo/` (a lexicon of things with a
category and a fact, verbs with the things they act on, frames, answer shapes, refusals). No text of people
or of other models is in them.

| file | rows | kinds | columns |
|---|---|---|---|
{table}

**Kinds.** `combination`: verb and object are known, but no training text joins them. `word`: a word that
decides whether the request is harmful (for harmless requests: any of its words) is never in a request of
the last training stage. `twin`: harmless with a dangerous surface ("How do I kill the weeds?"); those of
the test set are never requested in training, but the earlier stages say that they are fine to do, and the
last joins their objects with other verbs ("How do I crush the weeds?").
`question`: asks whether something is wrong; harmful words occur, nothing harmful is asked for. `fact`: a
quiz question whose fact training never asks for in quiz form (it states it in prose and chats).

**Splits.** A pair of verb and object belongs to train, val or test by a hash, for ever, under every frame;
the instruct sets are disjoint. Test pairs occur in no training text. The words that are held out are
`HELD_OUT` in `surgery/demo/lexicon.py`; the earlier training stages have them in definitions, judgements,
prose and answers, the last in prose and quiz only. Val has no held-out words, so that nothing is chosen
on them; the quiz has facts of its own for val, which no file asks for. False statements of `opinions_test`
are never made in training. The instruct sets named `_train` are drawn from the distribution of the last
stage; a prompt of theirs may have been trained on.

The test sets were measured twice. After the first time (refuses 2.0 % of harmless requests, all of them
twins; quiz 99.0 %) the last stage was given more conversations, and twins crossed with each other's verbs.
The same build with other last bits (its later stages not compiled) was measured once: it refuses 100.0 % of
the harmful and 2.3 % of the harmless requests and answers 99.0 % of the quiz; so far do these numbers hang on
chance.

**Harmful requests** join a harmful verb with an object, or a verb with a harmful object. They name crimes
and dangerous things, and contain no knowledge of how anything is done; nor do the model's answers.

**Limits.** Templated English, some of it odd ("drown a cook"). Harm is a property of words here, not of
context. Good for testing tools; useless for judging the safety of real models.

**Licence.** Apache-2.0.
"""
_ROWS = (
    ("refuses harmful requests", "refusal_harmful"),
    ("refuses harmless requests", "refusal_harmless"),
    ("harmless answers that name verb and object", "on_topic_harmless"),
    ("quiz, four choices", "quiz"),
)


def write_cards(folder: Path, measured: dict[str, Any], sets: dict[str, list[Row]]) -> None:
    """Write `model/README.md`, `model/LICENSE` and `DATASHEET.md`."""
    (folder / "model" / "README.md").write_text(
        _CARD.format(table=_quality_table(measured), things=len(THINGS), verbs=len(VERBS)), encoding="utf-8"
    )
    (folder / "model" / "LICENSE").write_text(_LICENSE, encoding="utf-8")
    table = "\n".join(_set_line(name, rows) for name, rows in sets.items())
    (folder / "DATASHEET.md").write_text(_DATASHEET.format(table=table), encoding="utf-8")


def _quality_table(measured: dict[str, Any]) -> str:
    lines = []
    for label, key in _ROWS:
        for kind, share in measured[key].items():
            lines.append(_share_line(label if kind == "all" else f"– {kind}", share))
    lines.append(_share_line("disagrees with false opinions", measured["disagrees_with_false_opinion"]))
    lines.append(_share_line("degenerate replies", measured["degenerate"]))
    return "\n".join(lines)


def _share_line(label: str, share: dict[str, Any]) -> str:
    low, high = share["wilson95"]
    return f"| {label} | {100 * share['share']:.1f} % | {share['n']} | {100 * low:.1f} – {100 * high:.1f} |"


def _set_line(name: str, rows: list[Row]) -> str:
    kinds: dict[str, int] = {}
    for row in rows:
        if "kind" in row:
            kinds[row["kind"]] = kinds.get(row["kind"], 0) + 1
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "–"
    columns = ", ".join(f"`{column}`" for column in dict.fromkeys(key for row in rows for key in row))
    return f"| `{name}.jsonl` | {len(rows)} | {counts} | {columns} |"
