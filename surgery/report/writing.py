"""The report's files in the result's folder."""

from __future__ import annotations

import json
from pathlib import Path

from surgery.report.page import render_page
from surgery.report.report import Report, report_as_json
from surgery.verify.records import write_records


def write_report(report: Report, folder: Path) -> None:
    """Write report.json, report.html and, if anything was measured, records.jsonl to `<folder>/surgery/`."""
    target = folder / "surgery"
    target.mkdir(exist_ok=True)
    text = json.dumps(report_as_json(report), indent=2, ensure_ascii=False, allow_nan=False)
    # A prompt may hold half a surrogate pair, which UTF-8 cannot; backslashreplace writes it as JSON's own
    # escape.
    (target / "report.json").write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    (target / "report.html").write_text(render_page(report), encoding="utf-8", errors="xmlcharrefreplace")
    if report.verification is not None:
        write_records(target / "records.jsonl", report.verification.records)
