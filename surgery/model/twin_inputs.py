"""What a twin is run on: random tokens, what an encoder could have said, and random images.

Image models take their pixels in a few forms: whole images, one or several a sequence, or patches with a grid
that says where they were. Whichever form a model takes, `image_features` gives what its projector writes at
the positions of an image.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from inspect import Parameter, signature
from typing import Any

from surgery.model.twin_sizes import D_MODEL, IMAGE_SIZE, PATCH_SIZE, SPECIAL, VOCABULARY

_SEQUENCES, _POSITIONS = 2, 20
_GRID = (1, 4, 4)


def twin_inputs(network: Any, seed: int) -> dict[str, Any]:
    """Arguments of a forward pass: tokens, and what the model cannot run without."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, VOCABULARY - SPECIAL, (_SEQUENCES, _POSITIONS), generator=generator)
    if _needs(network, "pixel_values"):
        return _with_queries(network, tokens, generator)
    if "decoder_input_ids" in signature(network.forward).parameters:
        return _of_both(network, tokens, generator)
    if any(name.endswith((".encoder_attn", ".crossattention")) for name, _ in network.named_modules()):
        heard = torch.randn(_SEQUENCES, _POSITIONS // 2, D_MODEL, generator=generator)
        if "encoder_hidden_states" in signature(network.forward).parameters:
            return {"input_ids": tokens, "encoder_hidden_states": heard}
        return {"input_ids": tokens, "encoder_outputs": (heard,)}
    if "cross_attention_states" in signature(network.forward).parameters:
        seen = torch.randn(_SEQUENCES, _POSITIONS // 2, D_MODEL, generator=generator)
        return {"input_ids": tokens, "cross_attention_states": seen}
    config = network.config
    if added := getattr(config.get_text_config(), "additional_vocab_size", 0):
        tokens[:, 0] = VOCABULARY + added - 1
    if "image_encoder_embeddings" in signature(network.forward).parameters:
        seen = torch.randn(
            _SEQUENCES, 1, _POSITIONS // 2, config.vision_config.embed_dim, generator=generator
        )
        attended = torch.ones(_SEQUENCES, _POSITIONS, 1)
        return {"input_ids": tokens, "image_encoder_embeddings": seen, "image_attention_mask": attended}
    if hasattr(config, "mm_tokens_per_image"):
        tokens[:, 2 : 2 + config.mm_tokens_per_image] = config.image_token_id
        return {"input_ids": tokens, "pixel_values": _pixels((_SEQUENCES,), generator)}
    return {"input_ids": tokens}


def _of_both(network: Any, tokens: Any, generator: Any) -> dict[str, Any]:
    """Arguments of an encoder-decoder: the decoder's tokens, and what the encoder could have said."""
    import torch
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    if "self_conditioning_logits" in signature(network.forward).parameters:
        logits = torch.randn(*tokens.shape, VOCABULARY, generator=generator)
        return {"input_ids": tokens, "decoder_input_ids": tokens, "self_conditioning_logits": logits}
    if hasattr(network.config, "eoi_token_index"):
        tokens[:, 1] = network.config.eoi_token_index
    project = getattr(network, "enc_to_dec_proj", None)
    width = D_MODEL if project is None else project.in_features
    heard = torch.randn(_SEQUENCES, _POSITIONS // 2, width, generator=generator)
    said = BaseModelOutputWithPooling(last_hidden_state=heard, pooler_output=heard)
    said.attention_mask = None  # which UDOP looks for
    return {"decoder_input_ids": tokens, "encoder_outputs": said}


def _needs(network: Any, name: str) -> bool:
    parameter = signature(network.forward).parameters.get(name)
    return parameter is not None and parameter.default is Parameter.empty


def _with_queries(network: Any, tokens: Any, generator: Any) -> dict[str, Any]:
    """A model that cannot run without an image: as many image tokens as it has queries."""
    config = network.config
    several = "video" in config.model_type
    tokens[:, 2 : 2 + config.num_query_tokens * (2 if several else 1)] = (
        config.video_token_index if several else config.image_token_index
    )
    inputs = {"input_ids": tokens, "attention_mask": tokens > 0}
    if _needs(network, "qformer_input_ids"):
        inputs |= {"qformer_input_ids": tokens[:, -6:], "qformer_attention_mask": tokens[:, -6:] > 0}
    shape = (_SEQUENCES, 2) if several else (_SEQUENCES,)
    return {**inputs, "pixel_values": _pixels(shape, generator)}


def image_features(network: Any, seed: int) -> list[Any]:
    """What the model puts into its stream for random images and codes of sound: tensors (…, d_model), none
    where it takes them in no form that is known here.
    """
    import torch

    if network.config.is_encoder_decoder:
        return []  # an image goes to the encoder's stream
    owner = network if hasattr(network, "get_image_features") else getattr(network, "model", None)
    heard = _sounds(network, seed)
    function = getattr(owner, "get_image_features", None)
    if function is None:
        return heard
    for arguments in _forms(network, function, torch.Generator().manual_seed(seed)):
        try:
            found = list(_flat(function(**arguments)))
            projector = getattr(network, "multi_modal_projector", None)
            if projector is not None:  # Llama 4 projects afterwards
                found = [projector(each) if each.shape[-1] != D_MODEL else each for each in found]
            return [each for each in found if each.shape[-1] == D_MODEL] + heard
        except Exception:
            continue
    return heard


def _sounds(network: Any, seed: int) -> list[Any]:
    """What a model that hears by codes (Inkling) puts into its stream for random ones."""
    import torch

    config = getattr(network.config, "audio_config", None)
    if config is None or not hasattr(config, "num_codebooks"):
        return []
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(config.codebook_size, (1, _POSITIONS, config.num_codebooks), generator=generator)
    return list(_flat(network.model.get_audio_features(codes)))


def alone(network: Any, ends: Collection[str], seed: int) -> list[Any]:
    """What modules whose names end so give for random input, and parameters whose names do: (1, n, d_model)
    each.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)

    def named(name: str) -> bool:
        return any(name == end or name.endswith("." + end) for end in ends)

    found = [each.view(1, 1, -1) for name, each in network.named_parameters() if named(name)]
    for name, module in network.named_modules():
        if named(name):
            first = next(each for each in module.modules() if isinstance(each, torch.nn.Linear))
            found.append(module(torch.randn(1, _POSITIONS, first.in_features, generator=generator)))
    return found


def _forms(network: Any, function: Any, generator: Any) -> Iterator[dict[str, Any]]:
    import torch

    parameters = signature(function).parameters
    vision = getattr(network.config, "vision_config", None)
    if "image_grid_thw" in parameters and vision is not None:
        patch = vision.patch_size if isinstance(vision.patch_size, int) else vision.patch_size[0]
        channels = int(getattr(vision, "in_channels", None) or getattr(vision, "num_channels", None) or 3)
        for times in dict.fromkeys((getattr(vision, "temporal_patch_size", 1), 1)):
            length = channels * int(times) * patch * patch
            grid = torch.tensor([_GRID])
            shapes: list[tuple[int, ...]] = [(16, length), (16, channels, patch, patch)]
            for each in (*shapes, (1, *shapes[1])):
                yield {"pixel_values": torch.randn(each, generator=generator), "image_grid_thw": grid}
    elif vision is not None and hasattr(
        vision, "temporal_patch_size"
    ):  # Inkling: patches of two frames, channels last
        shape = (4, vision.temporal_patch_size, vision.patch_size, vision.patch_size, vision.num_channels)
        yield {"pixel_values": torch.randn(shape, generator=generator)}
    yield from _patches(network.config, vision, parameters, generator)
    sizes = torch.tensor([[IMAGE_SIZE, IMAGE_SIZE]] * _SEQUENCES)
    for number in ((), (1,), (3,)):
        form = {"pixel_values": _pixels((_SEQUENCES, *number), generator)}
        if "high_res_pixel_values" in parameters:
            form["high_res_pixel_values"] = form["pixel_values"]
        yield {**form, **({"image_sizes": sizes} if "image_sizes" in parameters else {})}
    if "pixel_attention_mask" in parameters:  # tiles, those that are there marked
        tiles = {"pixel_values": _pixels((_SEQUENCES, 1), generator)}
        yield {**tiles, "pixel_attention_mask": torch.ones(_SEQUENCES, 1, dtype=torch.bool)}


def _patches(
    config: Any, vision: Any, parameters: Mapping[str, Parameter], generator: Any
) -> Iterator[dict[str, Any]]:
    """Images cut into four patches, each a row."""
    import torch

    patch = getattr(config if vision is None else vision, "patch_size", PATCH_SIZE)
    if "args" in parameters:  # MiniCPM-V: the patches of an image in one strip
        strip = torch.randn(1, 3, PATCH_SIZE, 16 * PATCH_SIZE, generator=generator)
        yield {"pixel_values": strip, "target_sizes": torch.tensor([[4, 4]])}
    if "image_grid_hw" in parameters:
        rows = torch.randn(16, 3 * PATCH_SIZE * PATCH_SIZE, generator=generator)
        yield {"pixel_values": rows, "image_grid_hw": torch.tensor([[4, 4]])}
        yield {
            "pixel_values": rows.view(16, 3, PATCH_SIZE, PATCH_SIZE),
            "image_grid_hw": torch.tensor([[4, 4]]),
        }
    if not isinstance(patch, int):
        return
    pixels = torch.randn(_SEQUENCES, 4, 3 * patch * patch, generator=generator)
    places = torch.tensor([[[0, 0], [0, 1], [1, 0], [1, 1]]] * _SEQUENCES)
    if "image_position_ids" in parameters:
        yield {"pixel_values": pixels, "image_position_ids": places}
    elif "spatial_shapes" in parameters:
        shapes = torch.tensor([[2, 2]] * _SEQUENCES)
        yield {
            "pixel_values": pixels,
            "spatial_shapes": shapes,
            "pixel_attention_mask": torch.ones(_SEQUENCES, 4, dtype=torch.long),
        }
    elif vision is None:
        yield {"pixel_values": pixels}


def _pixels(start: tuple[int, ...], generator: Any) -> Any:
    import torch

    return torch.randn(*start, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator)


def _flat(output: Any) -> Iterator[Any]:
    """Every tensor of what a model gives for its images: pooled, and of each layer that it goes to."""
    import torch

    if isinstance(output, torch.Tensor):
        yield output
    elif hasattr(output, "pooler_output"):
        yield from _flat(output.last_hidden_state if output.pooler_output is None else output.pooler_output)
        yield from _flat(getattr(output, "deepstack_features", None))
    elif isinstance(output, list | tuple):
        for each in output:
            yield from _flat(each)
