"""Two checkpoints held against each other: what changed, and what kind of edit it was."""
