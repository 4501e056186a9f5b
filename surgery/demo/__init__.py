"""The demo model that ships with the package, and its prompt sets; `demo:` names are resolved here."""

from surgery.demo.sources import dictionary_folder, is_demo, model_folder, prompt_file

__all__ = ["dictionary_folder", "is_demo", "model_folder", "prompt_file"]
