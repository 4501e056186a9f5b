"""Texts that a model writes itself: the sampling against transformers' own, the chats, the files."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from surgery.errors import SourceError  # noqa: E402
from trainer.config import DataSettings, GenerateSettings, ModelSettings, TextSource  # noqa: E402
from trainer.records import Document  # noqa: E402
from trainer.sources import documents, model_folder, save_documents  # noqa: E402
from trainer.subject import writing  # noqa: E402
from trainer.subject.model import Subject, load_subject, tokenize  # noqa: E402

ANY = (TextSource(source="any.txt"),)
DATA = DataSettings(train=ANY, held_out=ANY, context=24, batch=8)
SELF = TextSource(source="model", count=20, seed=3)


@pytest.fixture(scope="module")
def tiny(model_folder: Path) -> Subject:
    return load_subject(model_folder, ModelSettings(source="tiny"))


@pytest.fixture(scope="module")
def refuser() -> Subject:
    settings = ModelSettings(source="demo:refuser")
    return load_subject(model_folder(settings, Path()), settings)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_cold_samples_are_transformers_greedy_ones(tiny: Subject) -> None:
    prompts = [[1, 3, 6, 7, 8, 9], [1, 3], [1, 3, 12, 11]]
    cold = GenerateSettings(temperature=1e-6)
    found = writing.sample(tiny, prompts, 9, cold, _generator())
    for prompt, (ids, ended) in zip(prompts, found, strict=True):
        with torch.no_grad():
            out = tiny.model.generate(
                torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                do_sample=False, max_new_tokens=9,
            )  # fmt: skip
        expected = out[0, len(prompt) :].tolist()
        special = [place for place, token in enumerate(expected) if token < 6]
        assert ids == (expected[: special[0]] if special else expected)
        assert ended is bool(special)


def test_samples_follow_the_models_distribution(tiny: Subject) -> None:
    warm, count = GenerateSettings(temperature=0.05), 4000
    with torch.no_grad():
        logits = tiny.model(torch.tensor([[1, 3]])).logits[0, -1] / warm.temperature
    shares = torch.softmax(logits, -1)
    ids = writing._drawn(logits.expand(count, -1) * warm.temperature, warm, _generator(1))
    counted = torch.bincount(ids[:, 0], minlength=len(shares)) / count
    assert shares.max() < 0.9  # the law is about something
    assert (counted - shares).abs().max() < 4 * (0.25 / count) ** 0.5


def test_only_the_likeliest_share_is_drawn_from() -> None:
    logits = torch.tensor([[0.5, 0.25, 0.15, 0.1]]).log().expand(500, -1)
    for top_p, allowed in ((0.4, {0}), (0.5, {0}), (0.6, {0, 1}), (0.9, {0, 1, 2})):
        drawn = writing._drawn(logits, GenerateSettings(top_p=top_p), _generator())
        assert set(drawn[:, 0].tolist()) == allowed


def test_the_demo_model_writes_chats(refuser: Subject) -> None:
    data = DATA.model_copy(update={"context": 96, "batch": 32})
    source = SELF.model_copy(update={"count": 48})
    texts = writing.write(refuser, source, data)
    assert len(texts) == 48
    assert all([turn["role"] for turn in each.messages] == ["user", "assistant"] for each in texts)
    turns = [turn["content"] for each in texts for turn in each.messages]
    assert all(turn and "<|" not in turn for turn in turns)
    assert len(set(turns)) > 30
    assert sum(len(turn.split()) >= 3 for turn in turns) > 40
    lengths = [len(each.ids) for each in tokenize(refuser, texts, data)]
    assert max(lengths) <= 96 and sum(lengths) / len(lengths) > 10


def test_the_same_seed_writes_the_same(tiny: Subject) -> None:
    first, again = writing.write(tiny, SELF, DATA), writing.write(tiny, SELF, DATA)
    assert first == again
    assert first != writing.write(tiny, SELF.model_copy(update={"seed": 4}), DATA)
    fewer = writing.write(tiny, SELF.model_copy(update={"count": 5, "last_tokens": 2}), DATA)
    assert [each.messages for each in fewer] == [each.messages for each in first[:5]]
    assert {each.last_tokens for each in fewer} == {2}


def test_user_turns_alone_are_prompts(tiny: Subject) -> None:
    source = SELF.model_copy(update={"generate": GenerateSettings(replies=False, user_tokens=20)})
    texts = writing.write(tiny, source, DATA)
    assert len(texts) == 20
    assert all(each.opens_reply and len(each.messages) == 1 for each in texts)


def test_a_model_without_a_template_writes_plain_text(tiny: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny.tokenizer, "chat_template", None)
    texts = writing.write(tiny, SELF, DATA)
    assert all(each.text and not each.messages for each in texts)
    silent = SimpleNamespace(chat_template=None, bos_token_id=None, eos_token_id=None)
    with pytest.raises(SourceError, match="neither a chat template nor"):
        writing.write(replace(tiny, tokenizer=silent), SELF, DATA)


def test_turns_that_never_end_are_told(tiny: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_ends", lambda _: {-1})
    with pytest.raises(SourceError, match=r"came to an end within 64 tokens; raise generate\.user_tokens"):
        writing.write(tiny, SELF, DATA)


def test_several_processes_must_not_write_apart(tiny: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing.jax, "process_count", lambda: 2)
    with pytest.raises(SourceError, match="surgery-train generate"):
        writing.write(tiny, SELF, DATA)


def test_texts_come_back_from_their_file(tiny: Subject, tmp_path: Path) -> None:
    prompts = SELF.model_copy(update={"generate": GenerateSettings(replies=False)})
    kept = [*writing.write(tiny, SELF, DATA), *writing.write(tiny, prompts, DATA), Document(text="one two")]
    save_documents(tmp_path / "a" / "texts.jsonl", kept)
    assert documents([TextSource(source="a/texts.jsonl")], tmp_path) == kept
    with pytest.raises(SourceError, match="no model here"):
        documents([SELF], tmp_path)
