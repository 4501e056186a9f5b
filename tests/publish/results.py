"""Results to publish: what `surgery apply` leaves, with a card and a verdict, without its measurements."""

from __future__ import annotations

import json
from pathlib import Path

from surgery.checkpoint.layout import Checkpoint
from surgery.checkpoint.sums import write_sums
from tests.edit.results import make_result

CARD = """\
---
base_model: org/base
base_model_relation: finetune
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags:
- surgery
---

# A result
"""
FAILED = {
    "rows": [
        {"label": "refusals", "gate": {"text": "at most 5 %", "verdict": "fail"}},
        {"label": "quiz", "gate": {"text": "at least -2 %", "verdict": "pass"}},
    ]
}


def make_publishable(source: Checkpoint, out: Path, *, card: str = CARD, verdict: str = "pass") -> Path:
    """A result of one edit; `verdict` is the report's."""
    make_result(source, out)
    (out / "README.md").write_text(card, encoding="utf-8")
    report = {
        "verdict": verdict,
        "model": {"source": "org/base", "commit": "0" * 40},
        "verification": FAILED if verdict == "fail" else {"rows": []},
    }
    (out / "surgery" / "report.json").write_text(json.dumps(report))
    write_sums(out)
    return out
