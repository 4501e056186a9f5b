"""A decoder-only language model in plain JAX: llama, mistral, qwen2, qwen3, phi3, gemma, gemma2, gemma3_text.

One block under `lax.scan` over stacked layers, stopped at the hooked layer: later blocks are not even read.

    shape     what config.json says, in the words of one block
    weights   safetensors, layer by layer, stacked
    forward   tokens -> activations at a hook point
"""
