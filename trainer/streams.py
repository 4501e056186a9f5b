"""Activations as passes over the training texts: by transformers, by the JAX decoder, or from disk."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from trainer import harvest_jax, shards
from trainer.config import Config, HookSettings
from trainer.feed import Harvest, Passes
from trainer.journal import Notice, unheard
from trainer.lock import pinned
from trainer.sharing import Shared
from trainer.sources import model_folder
from trainer.subject.harvest import passes_at
from trainer.subject.model import Subject, check_hook, load_subject
from trainer.texts import tokens_of


def streams_of(
    configs: Sequence[Config], subject: Subject, base: Path, notice: Notice = unheard
) -> list[Passes]:
    """The passes of each run, which differ in `hook` and `dictionary` only, from the same forward passes."""
    shared = configs[0]
    if shared.data.activations is not None:
        return [shards.passes(base / shared.data.activations, config) for config in configs]
    several = Shared(_passes(configs, subject, base, notice), len(configs))
    return [several.passes(config.hook) for config in configs]


def _passes(
    configs: Sequence[Config], subject: Subject, base: Path, notice: Notice = unheard
) -> Callable[[int, int], Iterator[Mapping[HookSettings, Harvest]]]:
    """Passes over all hook points at once; the JAX decoder runs once for each of them."""
    shared, hooks = configs[0], tuple(dict.fromkeys(config.hook for config in configs))
    data, seed = shared.data, shared.seed
    texts = tokens_of(subject, data.train, data, base, notice)
    if shared.model.decoder == "transformers":
        return passes_at(subject, texts, hooks, data, seed)
    folder = model_folder(shared.model, base)
    decoders = [harvest_jax.load_decoder(folder, shared.model, hook, data) for hook in hooks]
    streams = [harvest_jax.passes(run, texts, data, seed) for run in decoders]

    def one_pass(number: int, begin: int) -> Iterator[Mapping[HookSettings, Harvest]]:
        for parts in zip(*(stream(number, begin) for stream in streams), strict=True):
            yield dict(zip(hooks, parts, strict=True))

    return one_pass


def harvest_to_disk(configs: Sequence[Config], out: Path, *, base: Path = Path()) -> dict[str, int]:
    """One pass over `data.train` written to `out` for `data.activations`; tokens by hook point. The configs
    differ as those of `fit_several`.

    Raises: SourceError, OutputError.
    """
    configs = [pinned(config, base, {})[0] for config in configs]
    shared, by_hook = configs[0], {config.hook: config for config in configs}
    subject = load_subject(model_folder(shared.model, base), shared.model)
    for hook in by_hook:
        check_hook(subject, hook)
    written = shards.write_shards(by_hook, _passes(configs, subject, base)(0, 0), out)
    return {shards.place_of(out, hook).name: count for hook, count in written.items()}
