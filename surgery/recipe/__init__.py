"""The recipe: its schema, its strict reader, and the lock file that a run leaves behind."""

from surgery.recipe.json_schema import json_schema
from surgery.recipe.lock import check_lock, write_lock
from surgery.recipe.reader import LoadedRecipe, load_recipe
from surgery.recipe.schema import Recipe

__all__ = ["LoadedRecipe", "Recipe", "check_lock", "json_schema", "load_recipe", "write_lock"]
