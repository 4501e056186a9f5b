"""The chat template: what stands around an instruction, and where the instruction ends.

The positions after the instruction (the template's own closing tokens, up to where the reply begins) are
where a model decides how to answer; Arditi et al. 2024 call them the post-instruction tokens. They are found
by rendering two different instructions and taking the longest common suffix of their tokens.
"""

from __future__ import annotations

from typing import Any

_PROBES = ("apple", "7 rivers?")


def render_chat(tokenizer: Any, prompt: str) -> str:
    """The prompt as one user message, with the opening of the reply; the bare prompt where there is no
    template."""
    if tokenizer.chat_template is None:
        return prompt
    messages = [{"role": "user", "content": prompt}]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def encode_chat(tokenizer: Any, prompt: str) -> list[int]:
    """Token numbers of `render_chat`; special tokens come from the template where there is one, never
    twice."""
    has_template = tokenizer.chat_template is not None
    return list(tokenizer(render_chat(tokenizer, prompt), add_special_tokens=not has_template)["input_ids"])


def post_instruction_length(tokenizer: Any) -> int:
    """How many tokens at the end of every encoded prompt belong to the template (at least 1)."""
    first, second = (encode_chat(tokenizer, probe) for probe in _PROBES)
    length = 0
    for left, right in zip(reversed(first), reversed(second), strict=False):
        if left != right:
            break
        length += 1
    return max(1, length)
