"""A comparison as a page of its own and as a paragraph for a model card.

The page asks nothing of the network and runs nothing; names in a checkpoint are escaped as foreign text is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from surgery.compare.diff import Diff
from surgery.compare.nearest import Nearest
from surgery.compare.sentences import (
    base_sentence,
    cosine_words,
    headline,
    left_out_sentence,
    proofs,
)
from surgery.report.diff_pictures import agreement, change_map, spectra
from surgery.report.page import TEMPLATES, content_policy, environment
from surgery.report.text import code, inline

Cosines = Mapping[str, tuple[float, ...]]


def render_diff_page(
    diff: Diff,
    nearest: Sequence[Nearest] = (),
    cosines: Cosines | None = None,
    *,
    names: tuple[str, str] | None = None,
) -> str:
    """The whole page as HTML; `names` are those of the two checkpoints, by default their folders'."""
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    changed = diff.evidence.changed
    part = diff.verdict.ablation
    return (
        environment()
        .get_template("diff.html.j2")
        .render(
            diff=diff,
            names=names or (diff.before.folder.name, diff.after.folder.name),
            style=Markup(style),
            policy=content_policy(style, ""),
            headline=headline(diff.verdict),
            proofs=proofs(diff.verdict),
            base=base_sentence(diff),
            writers=left_out_sentence(diff),
            map=change_map(changed, diff.evidence.left_out),
            spectra=spectra(changed),
            agreement=None if part is None else agreement(part),
            nearest=nearest,
            cosines={name: cosine_words(values) for name, values in (cosines or {}).items()},
        )
    )


def render_diff_summary(diff: Diff, nearest: Sequence[Nearest] = (), cosines: Cosines | None = None) -> str:
    """What changed, as Markdown for a card."""
    found = diff.evidence
    lines = [
        "## What changed against the base model",
        "",
        f"**{inline(headline(diff.verdict))}.**",
        "",
        f"- {inline(base_sentence(diff))}",
        f"- {len(found.changed):,} tensors changed: {inline(left_out_sentence(diff))}",
        *(f"- {inline(line)}" for line in proofs(diff.verdict)),
        *(f"- cosine {cosine_words(values)} with {code(name)}" for name, values in (cosines or {}).items()),
        *(
            f"- {each.cosine:.2f} along features {' + '.join(map(str, each.code))} of {code(each.dictionary)}"
            for each in nearest
        ),
        *(f"- file {code(each.name)}: {each.status}" for each in found.files if each.matters),
    ]
    return "\n".join(lines) + "\n"
