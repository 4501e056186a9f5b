"""The same rows as by torch, padded and packed, and a whole run on them."""

from pathlib import Path

import numpy as np
import pytest

from trainer import harvest_jax, loop
from trainer.reader import parse_config
from trainer.sources import documents as documents_of
from trainer.subject import harvest as harvesting
from trainer.subject import model as subjects

RUN = """\
model: {{source: {model}, decoder: {decoder}}}
hook: {{layer: 1}}
data:
  train: [{{source: texts.txt}}]
  held_out: [{{source: texts.txt}}]
  context: 16
  batch: 4
  packed: {packed}
  norm_outliers: 1.2
dictionary: {{architecture: topk, features: 24, k: 4}}
buffer: {{capacity: 64}}
training: {{steps: 6, batch: 16, log_every: 2}}
"""


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    lines = [
        f"<bos> {verb} the {thing} now" for verb in ("fix", "water", "sing") for thing in ("lamp", "one two")
    ]
    (tmp_path / "texts.txt").write_text("\n".join(lines))
    return tmp_path


@pytest.mark.parametrize("packed", ["false", "true"])
def test_same_rows_as_torch(texts: Path, model_folder: Path, packed: str) -> None:
    config = parse_config(RUN.format(model=model_folder, decoder="jax", packed=packed), "run.yaml")
    subject = subjects.load_subject(model_folder, config.model)
    documents = documents_of(config.data.train, texts)
    tokens = subjects.tokenize(subject, documents, config.data)
    theirs = harvesting.passes_at(subject, tokens, (config.hook,), config.data, 3)
    run = harvest_jax.load_decoder(model_folder, config.model, config.hook, config.data)
    ours = harvest_jax.passes(run, tokens, config.data, 3)
    pairs = [(each[config.hook], found) for each, found in zip(theirs(1, 0), ours(1, 0), strict=True)]
    for (expected, kept), (found, held) in pairs:
        assert found.shape == expected.shape and held.sum() == kept.sum() > 0
        np.testing.assert_allclose(np.asarray(found)[held], np.asarray(expected)[kept], atol=1e-5)
    assert len(list(ours(1, 1))) == len(pairs) - 1


def test_run_ends_as_with_transformers(texts: Path, model_folder: Path) -> None:
    numbers = [
        loop.fit(
            parse_config(RUN.format(model=model_folder, decoder=decoder, packed="false"), "run.yaml"),
            texts / decoder, base=texts,
        )
        for decoder in ("transformers", "jax")
    ]  # fmt: skip
    assert numbers[1]["tokens_harvested"] == numbers[0]["tokens_harvested"]
    assert numbers[1]["fvu"] == pytest.approx(numbers[0]["fvu"], rel=1e-3)
