"""Checkpoints on disk: headers, layout, byte ranges, hashes, folders that appear whole or not at all."""
