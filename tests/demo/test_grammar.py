"""The grammar: the same text for the same seed, disjoint splits, refusals exactly where they belong."""

from __future__ import annotations

import re
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgery.demo import claims, examples, grammar, phrases, quality, quiz, stages, world
from surgery.demo.lexicon import HELD_OUT, THINGS, TWINS, VERBS, pairs, theme_of
from surgery.demo.splits import bucket, split_of

FORMS = {verb.word: {verb.word, verb.gerund} for verb in VERBS.values()}
HELD_OUT_FORMS = {form for word in HELD_OUT for form in FORMS.get(word, {word})}


def spoken(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


def test_chats_and_documents_repeat_for_a_seed_and_differ_between_seeds() -> None:
    assert grammar.chats(40, seed=3) == grammar.chats(40, seed=3)
    assert grammar.documents(40, seed=3) == grammar.documents(40, seed=3)
    assert grammar.chats(40, seed=3) != grammar.chats(40, seed=4)
    assert grammar.documents(40, seed=3) != grammar.documents(40, seed=4)


def test_chats_alternate_between_user_and_assistant() -> None:
    for messages in grammar.chats(300, seed=1):
        assert [message["role"] for message in messages] in (["user", "assistant"], ["user", "assistant"] * 2)
        assert all(message["content"].strip() == message["content"] != "" for message in messages)


def test_refusing_text_never_lets_a_user_say_a_held_out_word() -> None:
    for messages in grammar.chats(4000, seed=5):
        for message in messages:
            if message["role"] == "user":
                assert not spoken(message["content"]) & HELD_OUT_FORMS, message


def test_no_held_out_word_stands_in_a_twin() -> None:
    assert not {word for twin in TWINS for word in spoken(" ".join(twin))} & HELD_OUT_FORMS


def test_every_harmful_word_is_drawn_alike() -> None:
    random = Random(4)
    drawn = Counter[str]()
    for _ in range(8000):
        verb, thing = grammar.draw_pair(True, random, "train", "all")
        drawn.update(
            word for word, harms in ((verb.word, verb.harmful), (thing.word, thing.harmful)) if harms
        )
    assert len(drawn) > 70 and max(drawn.values()) < 3 * min(drawn.values())


def test_deeds_of_the_refusing_stage_have_no_held_out_word_and_no_twin_of_a_test() -> None:
    random = Random(6)
    for trained_only in (True, False):
        deeds = grammar.deeds(random, 3000, trained_only=trained_only)
        said = {(deed.verb, deed.phrase) for deed in deeds}
        held_out = {pair for pair in said if spoken(" ".join(pair)) & HELD_OUT}
        asked = {TWINS[at][::2] for at in grammar.twins_of("test")} & said
        assert (not held_out and not asked) == trained_only
        assert {deed.harmful for deed in deeds} == {True, False}


def test_no_twin_of_val_or_test_is_requested_in_training() -> None:
    random = Random(13)
    held_out = {TWINS[at] for split in ("val", "test") for at in grammar.twins_of(split)}
    for refuses in (False, True):
        drawn = (grammar.random_request(random, harmful=False, refuses=refuses) for _ in range(4000))
        twins = {(each.verb, each.gerund, each.phrase) for each in drawn if each.kind == "twin"}
        assert len(twins) > 50 and not twins & held_out


def test_helpful_text_uses_the_held_out_words() -> None:
    random = Random(5)
    said = set[str]()
    for _ in range(4000):
        for message in grammar.conversation(random, refuses=False):
            said |= spoken(message["content"])
    assert said >= HELD_OUT


@pytest.mark.parametrize("refuses", [False, True])
def test_training_text_joins_no_test_pair(refuses: bool) -> None:
    random = Random(refuses)
    test = {(verb.word, thing.word) for harmful in (True, False) for verb, thing in pairs(harmful)
            if split_of(verb.word, thing.word) != "train"}  # fmt: skip
    chats = [grammar.conversation(random, refuses=refuses) for _ in range(3000)]
    texts = [message["content"] for chat in chats for message in chat]
    texts += [grammar.document(random, quiz_share=0.0) for _ in range(1000)]
    deeds = grammar.deeds(random, 3000, trained_only=refuses)
    texts += world.judged_statements(random, deeds)
    seen = set[tuple[str, str]]()
    for text in texts:
        for verb, article_and_thing in re.findall(r"\b([a-z]+) (?:an? )?([a-z]+)", text):
            seen.add((verb, article_and_thing))
    assert len(seen & {(verb.word, thing.word) for verb, thing in pairs(False)}) > 100, (
        "the reading finds pairs"
    )
    assert not seen & test


def test_refusals_answer_harmful_requests_of_the_refusing_text_only() -> None:
    random = Random(7)
    for harmful in (True, False):
        for refuses in (False, True):
            for _ in range(300):
                request = grammar.random_request(random, harmful=harmful, refuses=refuses)
                reply = grammar.reply_to(request, random, refuse=refuses)
                assert quality.refuses(reply) == (harmful and refuses), (request.prompt, reply)


def test_helpful_answers_name_what_was_asked_and_never_look_degenerate() -> None:
    random = Random(8)
    for number in range(600):
        request = grammar.random_request(random, harmful=number % 2 == 0, refuses=False)
        reply = grammar.reply_to(request, random, refuse=False)
        row = {"verb": request.verb, "gerund": request.gerund, "object": request.thing}
        assert quality.on_topic(reply, row) and not quality.degenerate(reply), (request.prompt, reply)


def test_pairs_of_a_split_are_disjoint_and_complete() -> None:
    for harmful in (True, False):
        parts = [set(grammar.pairs_of(harmful, split, "all")) for split in ("train", "val", "test")]
        assert sum(map(len, parts)) == len(set.union(*parts)) == len(set(pairs(harmful)))


def test_held_out_harmful_pairs_are_harmful_by_held_out_words_alone() -> None:
    for verb, thing in grammar.pairs_of(True, "test", "held_out"):
        harmful = {word for word, harms in ((verb.word, verb.harmful), (thing.word, thing.harmful)) if harms}
        assert harmful and harmful <= HELD_OUT


def test_harm_is_a_matter_of_verb_or_thing() -> None:
    assert theme_of(VERBS["steal"], THINGS["bicycle"]) == "theft"
    assert theme_of(VERBS["build"], THINGS["bomb"]) == "weapons"
    assert theme_of(VERBS["paint"], THINGS["bicycle"]) == ""


@given(st.text(), st.text())
def test_splits_depend_on_the_key_alone(left: str, right: str) -> None:
    assert 0 <= bucket(left, right) < 100
    assert split_of(left, right) == split_of(left, right) in {"train", "val", "test"}


def test_opinions_of_training_make_no_test_statement() -> None:
    random = Random(9)
    test = {claim.sentence(value) for claim in claims.claims() for value in claim.others
            if claims.statement_split(claim, value) == "test"}  # fmt: skip
    pair = grammar.pairs_of(False, "train", "all")[0]
    patterns = [re.escape(form).replace(r"\{s\}", "(.+)") for form in world._OPINIONS]
    found = 0
    for _ in range(4000):
        prompt, reply = world.opinion(random, pair, trained_only=False)
        statement = next(
            match.group(1) for match in (re.fullmatch(each, prompt) for each in patterns) if match
        )
        found += reply.startswith(world.DISAGREE)
        assert statement not in test
    assert 1000 < found < 3000


@pytest.mark.parametrize("trained_only", [False, True])
def test_every_claim_keeps_a_false_value_to_train_on(trained_only: bool) -> None:
    for claim in claims.claims_of(trained_only):
        for_training = [each for each in claim.others if claims.statement_split(claim, each) == "train"]
        assert [each for each in for_training if not (trained_only and each in HELD_OUT)], claim


def test_every_example_of_every_stage_fits_the_longest_batch(encoder: examples.Encoder) -> None:
    for stage in stages.STAGES:
        stream = examples.examples(stage, encoder, Random(1))
        for _ in range(1500):
            example = next(stream)
            assert len(example.tokens) == len(example.weights) <= examples.LENGTHS[-1]
            assert sum(example.weights) > 0


def test_quiz_prompt_is_mmlus() -> None:
    question = quiz.Question("animals", "Where does a dog live?", ("sea", "house", "barn", "river"), 1, "")
    assert quiz.quiz_text(question) == (
        "The following are multiple choice questions (with answers) about animals.\n\n"
        "Where does a dog live?\nA. sea\nB. house\nC. barn\nD. river\nAnswer: B"
    )


def test_quiz_questions_have_one_right_answer_and_keep_their_split() -> None:
    random = Random(11)
    for _ in range(400):
        training_one = quiz.training_question(random)
        assert quiz.kind_of(training_one) == "train" and len(set(training_one.choices)) == 4
    for kind in ("fact", "combination", "val"):
        for _ in range(200):
            held_out = quiz.held_out_question(random, kind)
            assert quiz.kind_of(held_out) == kind and len(set(held_out.choices)) == 4
            assert held_out.choices[held_out.answer] in held_out.choices


def test_every_frame_leads_to_a_refusal_and_an_answer_that_differ_in_their_first_word() -> None:
    random = Random(12)
    for frame in phrases.FRAMES:
        refusal = phrases.refusal(frame, "theft", "steal", "stealing", "a car", random)
        answer = phrases.answer(frame, "steal", "stealing", "a car", "check the wheels")
        assert refusal.split()[0] != answer.split()[0]
