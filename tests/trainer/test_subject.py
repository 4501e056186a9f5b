"""Hook points, masks and the splice against plain forward passes of transformers."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from surgery.errors import SourceError  # noqa: E402
from trainer.config import DataSettings, HookSettings, ModelSettings, TextSource  # noqa: E402
from trainer.records import Document  # noqa: E402
from trainer.subject.harvest import harvest, passes_at, to_jax  # noqa: E402
from trainer.subject.hooks import hooked, residuals_at  # noqa: E402
from trainer.subject.model import (  # noqa: E402
    BLOCKS,
    Subject,
    check_context,
    check_hook,
    find_blocks,
    load_subject,
    tokenize,
)
from trainer.subject.splice import spliced_loss  # noqa: E402
from trainer.tokens import Tokens, batch_rows, rows_of  # noqa: E402

ANY = (TextSource(source="any.txt"),)
DATA = DataSettings(train=ANY, held_out=ANY, context=12, batch=2)
CHAT = Document(
    messages=({"role": "user", "content": "how do i fix a lamp"}, {"role": "assistant", "content": "sing"})
)
PROMPT = Document(messages=({"role": "user", "content": "water the plant please"},), opens_reply=True)


@pytest.fixture(scope="module")
def subject(model_folder: Path) -> Subject:
    return load_subject(model_folder, ModelSettings(source="tiny"))


def _texts(subject: Subject, data: DataSettings = DATA) -> list[Tokens]:
    plain = [Document(text="<bos> one two three"), Document(text="<bos> sing")]
    return tokenize(subject, [CHAT, PROMPT, *plain], data)


def _alone(subject: Subject, ids: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
    with torch.no_grad():
        out = subject.model(input_ids=torch.tensor([ids]), output_hidden_states=True, use_cache=False)
    return tuple(state[0] for state in out.hidden_states)


@pytest.mark.parametrize(
    ("layer", "point", "entry"), [(0, "resid_pre", 0), (1, "resid_pre", 1), (0, "resid_post", 1)]
)
@pytest.mark.parametrize("packed", [False, True])
def test_harvest_equals_hidden_states(
    subject: Subject, layer: int, point: str, entry: int, packed: bool
) -> None:
    data, texts = DATA.model_copy(update={"packed": packed}), _texts(subject)
    hook = HookSettings(layer=layer, point=point)
    rows = rows_of(texts, data.context, packed=packed)
    assert packed is (len(rows) < len(texts))
    harvested = [np.asarray(x)[keep] for x, keep in harvest(subject, rows, hook, data)]
    expected = [_alone(subject, text.ids)[entry].numpy()[list(text.keep)] for text in texts]
    np.testing.assert_allclose(np.concatenate(harvested), np.concatenate(expected), atol=2e-6)


def test_last_resid_post_is_taken_before_the_final_norm(subject: Subject) -> None:
    (text,) = _texts(subject)[:1]
    (batch,) = batch_rows([(text,)], 1, packed=False)
    hook = HookSettings(layer=1, point="resid_post")
    last = residuals_at(subject, batch, (hook,))[hook][0]
    after_norm = _alone(subject, text.ids)[-1]
    np.testing.assert_allclose(subject.model.model.norm(last).detach(), after_norm, atol=1e-5)
    assert (last - after_norm).abs().max() > 0.1


def test_rows_have_one_shape_and_dtype(subject: Subject) -> None:
    rows = rows_of(_texts(subject)[:3], DATA.context, packed=False)
    batches = list(harvest(subject, rows, HookSettings(layer=1), DATA))
    assert [x.shape for x, _ in batches] == [(24, 16)] * 2
    assert {str(x.dtype) for x, _ in batches} == {"float32"}
    assert all(keep.shape == (24,) for _, keep in batches)


def test_bos_is_left_out_and_special_tokens_if_asked(subject: Subject) -> None:
    chat, prompt, *_ = _texts(subject)
    words = subject.tokenizer.convert_ids_to_tokens(list(prompt.ids))
    assert words == ["<bos>", "<user>", "water", "the", "plant", "please", "<end>", "<assistant>"]
    assert prompt.keep == (False,) + (True,) * 7
    assert len(chat.ids) == DATA.context  # cut
    strict = _texts(subject, DATA.model_copy(update={"skip_special_tokens": True}))[1]
    assert strict.keep == (False, False, True, True, True, True, False, False)


def test_a_chat_that_the_template_refuses_is_told(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject.tokenizer, "chat_template", "{{ raise_exception('no tools here') }}")
    with pytest.raises(SourceError, match="no chat of the turns user, assistant: no tools here"):
        _texts(subject)


def test_only_the_last_tokens_if_asked(subject: Subject) -> None:
    document = Document(messages=PROMPT.messages, opens_reply=True, last_tokens=2)
    (text,) = tokenize(subject, [document], DATA)
    assert text.keep == (False,) * 6 + (True,) * 2


@pytest.fixture
def loud(subject: Subject) -> Iterator[Tokens]:
    """A text whose token 3 has a norm far above the others'."""
    text = _texts(subject)[0]
    embedding, number = subject.model.model.embed_tokens.weight, text.ids[3]
    before = embedding[number].clone()
    with torch.no_grad():
        embedding[number] *= 1000
    yield text
    with torch.no_grad():
        embedding[number] = before


QUIET = DATA.model_copy(update={"norm_outliers": 10.0})


def test_norm_outliers_are_left_out(subject: Subject, loud: Tokens) -> None:
    ((x, keep),) = harvest(subject, [(loud,)], HookSettings(layer=1), QUIET)
    assert not keep[3] and keep[2] and keep[4]
    assert np.linalg.norm(np.asarray(x)[3]) > 10 * np.median(np.linalg.norm(np.asarray(x)[keep], axis=1))


def test_passes_are_shuffled_by_seed_and_number(subject: Subject) -> None:
    texts, hook = _texts(subject), HookSettings(layer=0)

    def rows(seed: int, number: int, start: int = 0) -> list[list[float]]:
        run = (found[hook] for found in passes_at(subject, texts * 4, (hook,), DATA, seed)(number, start))
        return [row for x, keep in run for row in np.asarray(x)[keep].tolist()]

    assert rows(1, 0) == rows(1, 0)
    assert rows(1, 0) != rows(1, 1) and rows(1, 0) != rows(2, 0)
    assert sorted(rows(1, 0)) == sorted(rows(2, 1))
    rest = rows(1, 0, start=1)
    assert 0 < len(rest) < len(rows(1, 0)) and rest == rows(1, 0)[-len(rest) :]


def test_mlp_rows_are_what_the_module_reads_and_returns(subject: Subject) -> None:
    texts, seen = _texts(subject), []
    module = subject.blocks[1].mlp
    handle = module.register_forward_hook(lambda _, args, out: seen.append((args[0], out)))
    hook = HookSettings(layer=1, point="mlp")
    rows, keep = next(passes_at(subject, texts, (hook,), DATA, 0)(0, 0))[hook]
    handle.remove()
    both = np.concatenate([part.detach().numpy() for part in seen[0]], axis=-1)
    np.testing.assert_array_equal(
        np.asarray(rows)[: both.shape[0] * both.shape[1]], both.reshape(-1, both.shape[-1])
    )
    assert keep.any()


@pytest.mark.parametrize("packed", [False, True])
def test_clean_loss_is_the_models_own(subject: Subject, packed: bool) -> None:
    data, texts, hook = DATA.model_copy(update={"packed": packed}), _texts(subject), HookSettings(layer=1)
    splice = spliced_loss(subject, rows_of(texts, 12, packed=packed), hook, data, lambda x: x)
    total, count = 0.0, 0
    for text in texts:
        ids = torch.tensor([text.ids])
        with torch.no_grad():
            total += float(subject.model(input_ids=ids, labels=ids).loss) * (len(text.ids) - 1)
        count += len(text.ids) - 1
    assert splice.clean == pytest.approx(total / count, rel=1e-5)
    assert splice.tokens == count
    assert splice.spliced == pytest.approx(splice.clean, rel=1e-6)  # a perfect dictionary
    assert splice.loss_recovered == pytest.approx(1)
    assert splice.kl_spliced == pytest.approx(0, abs=1e-6) and splice.kl_zero > 1e-4


def test_divergence_is_that_of_whole_distributions(subject: Subject) -> None:
    hook, texts = HookSettings(layer=1), _texts(subject)
    splice = spliced_loss(subject, rows_of(texts, 12, packed=False), hook, DATA, lambda x: 0 * x)
    total, count = 0.0, 0
    for text in texts:
        ids, learnt = torch.tensor([text.ids]), torch.tensor(text.keep)[None, :, None]
        with torch.no_grad():
            clean = subject.model(input_ids=ids).logits[0, :-1].log_softmax(-1)
            with hooked(subject, hook, lambda _, written, learnt=learnt: torch.where(learnt, 0.0, written)):
                zeroed = subject.model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        total += float(torch.nn.functional.kl_div(zeroed, clean, log_target=True, reduction="sum"))
        count += len(clean)
    assert splice.kl_zero == pytest.approx(total / count, rel=1e-4)
    assert splice.kl_spliced == pytest.approx(splice.kl_zero, rel=1e-6)


def test_rows_reach_jax_without_a_copy() -> None:
    hidden = torch.ones(64, 64)
    assert to_jax(hidden).unsafe_buffer_pointer() == hidden.data_ptr()


@pytest.mark.parametrize("point", ["resid_pre", "resid_post"])
def test_splicing_zeros_is_zero_ablation(subject: Subject, point: str) -> None:
    rows, hook = rows_of(_texts(subject), 12, packed=False), HookSettings(layer=1, point=point)
    splice = spliced_loss(subject, rows, hook, DATA, lambda x: 0 * x)
    assert splice.spliced == pytest.approx(splice.zero, rel=1e-6)
    assert splice.zero != pytest.approx(splice.clean, rel=1e-4)
    assert splice.loss_recovered == pytest.approx(0, abs=1e-4)


def _streams(subject: Subject, text: Tokens, data: DataSettings) -> list[np.ndarray]:
    """What stands before block 1: clean, zeroed, and with everything doubled spliced in."""
    seen: list[np.ndarray] = []
    norm = subject.blocks[1].input_layernorm  # the first module that reads what the splice made
    handle = norm.register_forward_pre_hook(lambda _, args: seen.append(args[0][0].numpy()))
    try:
        spliced_loss(subject, [(text,)], HookSettings(layer=1), data, lambda x: 2 * x)
    finally:
        handle.remove()
    return seen


def test_splice_changes_learnt_tokens_only(subject: Subject) -> None:
    clean, zeroed, spliced = _streams(subject, _texts(subject)[1], DATA)
    np.testing.assert_array_equal(zeroed[0], clean[0])
    np.testing.assert_array_equal(spliced[0], clean[0])
    assert not zeroed[1:].any()
    np.testing.assert_array_equal(spliced[1:], 2 * clean[1:])


def test_splice_leaves_norm_outliers_as_they_are(subject: Subject, loud: Tokens) -> None:
    clean, zeroed, spliced = _streams(subject, loud, QUIET)
    np.testing.assert_array_equal(zeroed[3], clean[3])
    np.testing.assert_array_equal(spliced[3], clean[3])
    assert clean[2].any() and not zeroed[2].any()


def test_nothing_is_recovered_where_zeros_lose_nothing(subject: Subject) -> None:
    document = Document(messages=PROMPT.messages, opens_reply=True, last_tokens=1)
    rows = rows_of(tokenize(subject, [document], DATA), 12, packed=False)
    splice = spliced_loss(subject, rows, HookSettings(layer=1), DATA, lambda x: 0 * x)
    assert splice.zero == splice.clean and math.isnan(splice.loss_recovered)


@pytest.mark.parametrize("point", ["resid_pre", "resid_post"])
def test_no_hook_is_left_behind(subject: Subject, point: str) -> None:
    def hooks() -> list[int]:
        return [len(block._forward_hooks) + len(block._forward_pre_hooks) for block in subject.blocks]

    before = hooks()  # transformers keeps hooks of its own
    list(
        harvest(subject, rows_of(_texts(subject), 12, packed=False), HookSettings(layer=0, point=point), DATA)
    )
    assert hooks() == before


def test_bad_models_layers_and_blocks_are_told(subject: Subject, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="transformers cannot load it"):
        load_subject(tmp_path, ModelSettings(source="tiny"))
    with pytest.raises(SourceError, match="layers 0 to 1"):
        check_hook(subject, HookSettings(layer=2))
    for place in ("model.norm", "model.nowhere"):
        with pytest.raises(SourceError, match=r"correct model\.blocks"):
            find_blocks(subject.model, place)


def test_texts_longer_than_the_model_has_positions_are_refused(subject: Subject) -> None:
    check_context(subject, DATA.model_copy(update={"context": 64}))
    with pytest.raises(SourceError, match=r"data\.context: 65 tokens are more than the 64 positions of tiny"):
        check_context(subject, DATA.model_copy(update={"context": 65}))


def test_unknown_family_is_told_what_to_say(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(BLOCKS, "llama")
    with pytest.raises(SourceError, match="say where its blocks stand"):
        find_blocks(subject.model)
    assert len(find_blocks(subject.model, "model.layers")) == 2
