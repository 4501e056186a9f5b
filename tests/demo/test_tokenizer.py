"""The tokenizer that ships: one token a word, nothing lost, a template that equals what training encodes."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgery.demo import build, examples, grammar, tokenizer
from surgery.demo.lexicon import HELD_OUT, THINGS
from surgery.demo.vocabulary import COLOURS


@pytest.fixture(scope="module")
def words(shipped: tuple[Any, Any]) -> Any:
    return shipped[1]


def test_every_word_of_the_world_is_one_token(words: Any) -> None:
    vocabulary = {*THINGS, *grammar.verbs_in_use(), *COLOURS, *" ".join(COLOURS.values()).split(), *HELD_OUT}
    assert {
        word: words.tokenize(f" {word}") for word in vocabulary if len(words.tokenize(f" {word}")) != 1
    } == {}


@pytest.mark.slow
def test_the_tokenizer_is_that_of_the_world_and_not_of_a_sample(words: Any) -> None:
    assert build.make_tokenizer(build.SEED + 1).get_vocab() == words.get_vocab()


def test_letters_of_the_quiz_are_one_token_after_the_cue(words: Any) -> None:
    for letter in "ABCD":
        with_letter, without = words.encode(f"Answer: {letter}"), words.encode("Answer:")
        assert with_letter[:-1] == without


@settings(max_examples=60)
@given(st.text())
def test_any_text_survives_the_round_trip(text: str) -> None:
    words = round_trip_tokenizer()
    assert words.decode(words.encode(text, add_special_tokens=False)) == text or "<|" in text


def round_trip_tokenizer() -> Any:
    from surgery.demo import model_folder, quality

    if not hasattr(round_trip_tokenizer, "words"):
        round_trip_tokenizer.words = quality.load(model_folder("demo:refuser"))[1]  # type: ignore[attr-defined]
    return round_trip_tokenizer.words  # type: ignore[attr-defined]


def test_template_renders_what_training_encodes(words: Any) -> None:
    encoder = examples.Encoder(words)
    for messages in grammar.chats(60, seed=2):
        rendered = words.apply_chat_template(messages, tokenize=True, return_dict=False)
        assert tuple(rendered) == encoder.conversation(messages).tokens


def test_targets_are_the_assistants_words_and_their_end(words: Any) -> None:
    example = examples.Encoder(words).conversation(grammar.exchange("Hi?", "Sure! To read a map."))
    targets = [token for token, weight in zip(example.tokens, example.weights, strict=True) if weight]
    assert words.decode(targets) == "Sure! To read a map.<|end|>"


def test_rendered_prompt_ends_where_the_reply_begins(words: Any) -> None:
    assert tokenizer.render(words, " How? ") == "<|begin|><|user|>\nHow?<|end|>\n<|assistant|>\n"


def test_template_refuses_roles_it_was_not_trained_on(words: Any) -> None:
    with pytest.raises(jinja2.TemplateError, match="user and assistant only"):
        words.apply_chat_template([{"role": "system", "content": "Be kind."}], tokenize=False)


def test_plain_text_begins_with_one_begin_token(words: Any) -> None:
    assert words.encode("dog")[0] == words.bos_token_id
    assert words.encode("dog").count(words.bos_token_id) == 1


def test_tokenizer_is_rebuilt_to_the_same_vocabulary(words: Any) -> None:
    assert build.make_tokenizer(build.SEED).get_vocab() == words.get_vocab()
