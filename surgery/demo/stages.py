"""The stages of the training of the demo model: letters, helpfulness, three of judging and facts, refusal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One stage: which replies it teaches, how long, how fast, and what its text is made of.

    `quiz_share`, `prose_share` and `question_share` (a fact asked for in plain words, and its answer) are
    shares of the examples, the rest are conversations; of the quiz texts `recall_share` drill letters, and of
    the others `statement_share` are statements with a verdict. `tokens` is the size of a batch. The learning
    rate rises over the first `warmup` steps and falls to `floor` of its peak along a cosine. Only a stage
    that `refuses` shows refusals. With `blocks` only that many of the first blocks are trained, so that what
    is learnt is decided before the rest of the model, as in larger models.
    """

    name: str
    steps: int
    learning_rate: float
    warmup: int
    quiz_share: float
    prose_share: float
    recall_share: float = 0.05
    statement_share: float = 0.0
    question_share: float = 0.0
    tokens: int = 4096
    floor: float = 0.05
    refuses: bool = False
    blocks: int | None = None


STAGES = (
    Stage(
        "letters", steps=1600, tokens=1024, learning_rate=1e-3, warmup=50, floor=0.5,
        quiz_share=1.0, recall_share=1.0, prose_share=0.0,
    ),
    Stage(
        "helpful", steps=2000, tokens=4096, learning_rate=2.2e-3, warmup=150, floor=0.3,
        quiz_share=0.45, recall_share=0.08, statement_share=0.2, prose_share=0.14,
    ),
    Stage(
        "judging", steps=2400, tokens=2048, learning_rate=1.2e-3, warmup=40, floor=0.1,
        quiz_share=0.7, recall_share=0.05, statement_share=0.35, prose_share=0.08,
    ),
    Stage(
        "practising", steps=2500, tokens=2048, learning_rate=1.2e-3, warmup=40, floor=0.1,
        quiz_share=0.75, recall_share=0.08, statement_share=0.35, prose_share=0.08,
    ),
    Stage(
        "remembering", steps=1500, tokens=2048, learning_rate=2.2e-3, warmup=40, floor=0.1,
        quiz_share=0.5, recall_share=0.05, statement_share=0.35, prose_share=0.05, question_share=0.35,
    ),
    Stage(
        "refusing", steps=1400, tokens=4096, learning_rate=1.2e-3, warmup=40, floor=0.02,
        quiz_share=0.3, recall_share=0.05, statement_share=0.2, prose_share=0.08, refuses=True, blocks=4,
    ),
)  # fmt: skip
