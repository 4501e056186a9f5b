"""One object, the report, and its faces: report.json, report.html, the model card."""
