"""What `surgery dictionary features` finds out, and its screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from surgery.cli.layout import HEADING, LABEL, NARROWEST, WIDEST, joined, labelled, section
from surgery.cli.screen import agreement_parts, cosine_part
from surgery.dictionary.dictionary import Dictionary
from surgery.direction.direction import Direction, read_directions
from surgery.direction.reconstruction import Reconstruction, reconstruct
from surgery.model.language_model import LanguageModel
from surgery.model.source import open_prompts
from surgery.report.features_page import FeaturesReport
from surgery.report.numbers import count, fixed, level
from surgery.report.text import one_line, shortened
from surgery.verify.activations import text_windows
from surgery.verify.portraits import Excerpt, Portrait, portray_features
from surgery.verify.progress import Progress

_SEED = 0
_EXCERPTS_SHOWN = 2
_TOKENS_BEFORE = 10
_TOKENS_AFTER = 4


@dataclass(frozen=True)
class Wanted:
    """Which features: of a direction's code, or by number."""

    direction: Path | None
    name: str | None
    top: int
    method: str
    numbers: tuple[int, ...]


def explain(
    opened: Dictionary,
    model: LanguageModel,
    wanted: Wanted,
    *,
    texts: Sequence[str],
    tokens: int,
    chat: bool,
    progress: Progress,
) -> FeaturesReport:
    """Find the features and portray them."""
    code, label = None, None
    if wanted.direction is not None:
        direction = Direction.load(wanted.direction, wanted.name)
        label = wanted.name or next(iter(read_directions(wanted.direction)))
        _, code = reconstruct(direction, opened, wanted.top, method=wanted.method, seed=_SEED)
    numbers = [each.number for each in code.features] if code else list(wanted.numbers)
    each_set = [open_prompts(name).prompts for name in texts]
    # Sets take turns, so that none is left out where the tokens do not reach for all.
    mixed = [
        prompts[at] for at in range(max(map(len, each_set))) for prompts in each_set if at < len(prompts)
    ]
    windows = text_windows(model, mixed, at_most=tokens, chat=chat)
    found = portray_features(model, opened, numbers, windows, progress=progress)
    place = f"{opened.hook_point} → {opened.writes}" if opened.is_transcoder else str(opened.hook_point)
    return FeaturesReport(
        dictionary=opened.name,
        about=f"{opened.architecture}, {count(opened.n_features)} features, {place}",
        model=model.name,
        tokens=found.tokens,
        texts=texts_said(texts, chat=chat),
        direction=label,
        summary=_summary(code) if code else (),
        agreement=tuple(agreement_parts(code)) if code else (),
        portraits=found.features,
        coefficients=tuple(each.coefficient for each in code.features) if code else None,
        cosines=tuple(each.cosine for each in code.features) if code else None,
    )


def texts_said(texts: Sequence[str], *, chat: bool) -> str:
    """The sets, and how the model was shown them: a feature may fire in the chat template only."""
    return ", ".join(texts) + (", in the chat template" if chat else ", as plain text")


def features_as_json(found: FeaturesReport) -> dict[str, Any]:
    """Everything, as plain data."""
    return asdict(found)


def features_lines(found: FeaturesReport, width: int) -> list[Text]:
    """The screen."""
    body = max(NARROWEST, min(width, WIDEST)) - HEADING
    facts = [f"{count(found.tokens)} tokens of {found.texts}"]
    lines = section(
        "dictionary", labelled(one_line(found.dictionary), joined([found.about], body - LABEL), body)
    )
    lines += section("model", labelled(one_line(found.model), joined(facts, body - LABEL), body))
    if found.direction is not None:
        head = labelled(one_line(found.direction), joined(found.summary, body - LABEL), body)
        others = labelled("same features by", joined(found.agreement, body - LABEL), body)
        lines += section("direction", [*head, *others])
    rows = [line for index, each in enumerate(found.portraits) for line in _feature(found, each, index, body)]
    return lines + section("features", rows)


def _summary(code: Reconstruction) -> tuple[str, ...]:
    point = code.point
    parts = (
        f"{code.method.replace('_', ' ')}, k = {point.k}",
        cosine_part(code),
        f"FVU {fixed(point.fvu)}",
    )
    return parts if code.note is None else (*parts, code.note)


def _feature(found: FeaturesReport, portrait: Portrait, index: int, body: int) -> list[Text]:
    facts = [f"fires on {level(portrait.density, 'share')}"]
    if found.coefficients is not None and found.cosines is not None:
        facts.insert(0, f"coefficient {fixed(found.coefficients[index], 2, signed=True)}")
        facts.insert(1, f"cosine {fixed(found.cosines[index], 2, signed=True)}")
    if portrait.density:
        facts.append(f"mean {fixed(portrait.mean, 2)}, at most {fixed(portrait.maximum, 2)}")
    lines = labelled(f"#{portrait.number}", joined(facts, body - LABEL), body)
    tokens = "  ".join(repr(each.token) for each in portrait.promoted[:5])
    lines.append(Text(" " * LABEL + shortened(f"likelier: {tokens}", body - LABEL)))
    for excerpt in portrait.excerpts[:_EXCERPTS_SHOWN]:
        lines.append(Text(" " * LABEL + shortened(_line(excerpt), body - LABEL)))
    return lines


def _line(excerpt: Excerpt) -> str:
    """`9.41  how do i [steal] a boat`: the strongest token in brackets."""
    at = excerpt.activations.index(excerpt.strongest)
    before = "".join(excerpt.tokens[max(0, at - _TOKENS_BEFORE) : at])
    after = "".join(excerpt.tokens[at + 1 : at + 1 + _TOKENS_AFTER])
    strongest = excerpt.tokens[at].strip(" ").replace("\n", "⏎")
    text = one_line(f"{before}[{strongest}]{after}")
    return f"{fixed(excerpt.strongest, 2)}  {text}"
