"""What every section of a config has in common: strict, frozen, documented key by key, as in a recipe."""

from typing import Annotated

from pydantic import Field

from surgery.recipe.section import Section as Settings

__all__ = ["Count", "DeviceSettings", "NonNegative", "Positive", "Settings"]

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


class DeviceSettings(Settings):
    """Over how many devices arrays are spread; see `trainer.placement`."""

    data: Count = 1
    """Slices of the batch and of the buffer."""
    model: Count = 1
    """Slices of the features. With more than one, the kinds with k codes decode by dense products."""
