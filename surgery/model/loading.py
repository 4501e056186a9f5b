"""From a folder to a model that runs: the class that its config.json asks for, FP8 weights widened, an
adapter on top.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from surgery.errors import SourceError
from surgery.model.language_model import LanguageModel


def load_language_model(
    folder: Path,
    *,
    name: str | None = None,
    adapter: Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
) -> LanguageModel:
    """Load a model folder, with a PEFT adapter on top if one is given.

    Args:
        device: "auto" takes a GPU where there is one.
        dtype: "auto" is float32 on a CPU and the stored dtype elsewhere; FP8 weights are widened to any
            other.

    Raises:
        SourceError: transformers cannot load the folder, or not all of the model from it.
    """
    import torch
    from transformers import AutoConfig, AutoTokenizer
    from transformers.utils import logging

    from surgery.model.widening import is_fp8, load_widened

    logging.disable_progress_bar()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype == "auto" and device == "cpu":
        dtype = "float32"
    missing: list[str] = []
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        kind = auto_class(config.to_dict())
        options: dict[str, Any] = {"dtype": dtype, "trust_remote_code": trust_remote_code}
        if dtype != "auto" and is_fp8(folder):
            network = load_widened(kind, folder, config, **options)
        else:
            options |= {"use_safetensors": True, "output_loading_info": True}
            network, told = kind.from_pretrained(folder, **options)
            missing = sorted(told["missing_keys"])
    except Exception as error:  # config classes raise whatever their own validators do
        raise SourceError(f"{folder}: transformers cannot load this model: {error}") from error
    if missing:
        raise SourceError(
            f"{folder}: it lacks {', '.join(missing[:6])}, which transformers would fill with chance"
        )
    if adapter is not None:
        network = _with_adapter(network, adapter)
    network.eval().to(device).requires_grad_(False)
    return LanguageModel(network, tokenizer, name or str(folder))


def _with_adapter(network: Any, adapter: Path) -> Any:
    from peft import PeftModel

    with warnings.catch_warnings():
        # An addition is a bias that the base layer lacks; it cannot be merged, and is not going to be.
        warnings.filterwarnings("ignore", message=".is_gradient_checkpointing. is deprecated")
        warnings.filterwarnings("ignore", message=".lora_bias=True. was passed but the targeted layer")
        wrapped = PeftModel.from_pretrained(network, str(adapter))
    # The wrapper is dropped: tuner layers stay in place inside, and the model keeps its own interface.
    return wrapped.base_model.model


def auto_class(config: Mapping[str, Any]) -> Any:
    """The class of transformers that makes a model of a config.json: with its vision tower or its encoder
    where the checkpoint has one, as `architectures` says, and with its vision tower where nothing is said.
    """
    import transformers
    from transformers.models.auto import modeling_auto as auto

    model_type = config.get("model_type")
    seeing = auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.get(model_type)
    kinds = {
        auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES.get(model_type): transformers.AutoModelForSeq2SeqLM,
        auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES.get(model_type): transformers.AutoModelForSpeechSeq2Seq,
        seeing: transformers.AutoModelForImageTextToText,
        None: transformers.AutoModelForCausalLM,
    }
    return kinds.get((config.get("architectures") or [seeing])[0], transformers.AutoModelForCausalLM)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and no advice from transformers inside the block."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
