"""The only door to huggingface_hub: what is fetched from there, and what is sent to it."""

from surgery.hub.fetching import (
    Snapshot,
    fetch_dataset,
    fetch_dataset_file,
    fetch_dictionary,
    fetch_model,
)
from surgery.hub.names import is_hub_id

__all__ = ["Snapshot", "fetch_dataset", "fetch_dataset_file", "fetch_dictionary", "fetch_model", "is_hub_id"]
