"""What the reader of a plan should know about it, in sentences: what is left out, and what a choice means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from surgery.checkpoint.folder import size_in_words
from surgery.checkpoint.layout import Checkpoint
from surgery.model.anatomy import Anatomy
from surgery.recipe.editing import Ablate


def plan_notes(
    checkpoint: Checkpoint,
    anatomy: Anatomy,
    active: Sequence[Ablate],
    edited: Mapping[str, Sequence[str]],
    *,
    tied: str,
    stretch: float | None,
) -> tuple[str, ...]:
    """What a reader of a plan should know; `active` are the steps that change anything, `edited` is tensor →
    directions.
    """
    notes: list[str] = []
    if not edited:
        notes.append(
            "nothing is edited (every strength is 0, or no writer is chosen): the result is a copy of the"
            " source"
        )
    notes += [_reach_note(name, anatomy, edited) for name in dict.fromkeys(step.ablate for step in active)]
    notes += _tied_notes(checkpoint, anatomy, edited, tied)
    if stretch is not None and edited:
        notes.append(
            "each column of an edited matrix gets its length back, made longer by a factor of at most"
            f" {stretch:g}; biases, and controls, which run as hooks, do not"
        )
    if checkpoint.left_out:
        shown = ", ".join(_as_text(name) for name in checkpoint.left_out[:6])
        more = f" and {len(checkpoint.left_out) - 6} more" if len(checkpoint.left_out) > 6 else ""
        notes.append(f"not copied, since they hold other weights or no part of the model: {shown}{more}")
    return tuple(note for note in notes if note)


def _as_text(name: str) -> str:
    """A file's name, which need not be text, as it can be written in any file."""
    return name.encode("utf-8", "backslashreplace").decode()


def _tied_notes(
    checkpoint: Checkpoint, anatomy: Anatomy, edited: Mapping[str, Sequence[str]], tied: str
) -> list[str]:
    """What becomes of an embedding that is also the unembedding, and what else could."""
    names = [writer.tensor for writer in anatomy.writers if writer.tied]
    if not names:
        return []
    if edited.keys().isdisjoint(names):
        left = (
            "the embedding is tied and left as it is (tied: skip), so the stream still starts with the"
            " direction"
        )
        return [left] if tied == "skip" else []
    more = size_in_words(checkpoint.tensors[names[0]].n_bytes)
    if tied == "untie":
        return [
            "the embedding is untied (tied: untie): the unembedding keeps what it was, as"
            f" {anatomy.unembedding}"
        ]
    return [
        "the embedding is tied (tied: accept): editing it also removes the direction from what the"
        f" unembedding reads; `tied: untie` would keep the unembedding as it was and add {more}, `tied: skip`"
        " would leave both, and with them the direction that the stream starts with"
    ]


def _reach_note(name: str, anatomy: Anatomy, edited: Mapping[str, Sequence[str]]) -> str:
    left = [writer for writer in anatomy.writers if name not in edited.get(writer.tensor, ())]
    if not left or len(left) == len(anatomy.writers):
        return ""
    counts = {
        role: sum(writer.role == role for writer in left)
        for role in ("embedding", "attention_out", "mlp_out")
    }
    listed = ", ".join(f"{count} {role}" for role, count in counts.items() if count)
    share = f"{len(left)} of {len(anatomy.writers)} writers"
    return f"{name}: {share} are not edited and can still write it ({listed})"
