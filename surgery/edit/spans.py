"""The pieces that a weight file of the result is made of: ranges that are copied and tensors that are
projected.

They tile the file behind its header, in file order. Copied ranges are cut to a bounded size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from surgery.checkpoint.layout import Checkpoint
from surgery.edit.plan import Plan, TensorEdit
from surgery.edit.untying import result_header

COPY_BYTES = 64 << 20


@dataclass(frozen=True)
class Span:
    """Bytes `[start, end)` of a file of the result; in the source's they stand `shift` bytes before.
    Copied, or projected where there is an edit.
    """

    start: int
    end: int
    edit: TensorEdit | None = None
    shift: int = 0

    @property
    def n_bytes(self) -> int:
        return self.end - self.start


def weight_spans(plan: Plan, checkpoint: Checkpoint, name: str) -> Iterator[Span]:
    """The spans of one weight file."""
    header, untying = checkpoint.headers[name], plan.untying
    shift = len(result_header(untying, header, name)) - len(header.raw)
    position = len(header.raw)
    edits = (edit for edit in plan.edits if edit.file == name)
    for edit in sorted(edits, key=lambda each: each.start):
        yield from pieces(position, edit.start, shift)
        yield Span(edit.start + shift, edit.end + shift, edit, shift)
        position = edit.end
        if untying is not None and untying.copied and untying.embedding == edit.tensor:
            shift += edit.end - edit.start
            yield from pieces(edit.start, edit.end, shift)  # the unembedding, as the embedding was
    yield from pieces(position, header.file_bytes, shift)


def pieces(start: int, end: int, shift: int = 0) -> Iterator[Span]:
    """The bytes `[start, end)` of a source, to be copied."""
    for position in range(start, end, COPY_BYTES):
        yield Span(position + shift, min(position + COPY_BYTES, end) + shift, None, shift)


def shift_of(plan: Plan, checkpoint: Checkpoint, edit: TensorEdit) -> int:
    """How much further on an edited tensor stands in the result."""
    if plan.untying is None:
        return 0
    return next(span.shift for span in weight_spans(plan, checkpoint, edit.file) if span.edit == edit)
