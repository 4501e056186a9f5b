"""A safetensors file of directions, as `surgery diff --save-direction` or a result's record holds them."""

from __future__ import annotations

import json
from pathlib import Path

from surgery.direction.direction import Direction, read_directions
from surgery.publish.part import Part, quoted

_USE = """\
```yaml
# in a recipe; the file is downloaded once: hf download {name} {file}
direction:
  {direction}: {{find: file, path: {file}, tensor: {direction}}}
```
"""


def is_directions(place: Path) -> bool:
    """Whether a path is a safetensors file."""
    return place.is_file() and place.suffix == ".safetensors"


def describe_directions(file: Path) -> Part:
    """What a file of directions says of itself.

    Raises:
        DirectionError: it holds something else.
    """
    found = read_directions(file)
    rows = "\n".join(_row(name, direction) for name, direction in found.items())
    origins = json.dumps({name: dict(each.origin) for name, each in found.items()}, indent=2, sort_keys=True)
    about = (
        "Directions of a language model's residual stream: unit vectors, float32.\n\n"
        "| direction | width | taken at | length before | how found | SHA-256 |\n|---|--:|---|--:|---|---|\n"
        f"{rows}\n\n```json\n{origins.replace('```', '')}\n```"
    )
    first = next(iter(found))
    use = _USE.format(name='"path/to/this/folder"', file=json.dumps(file.name), direction=json.dumps(first))
    fields = {"library_name": "surgery", "tags": ["surgery", "steering-vector", "interpretability"]}
    return Part("directions", (file.name,), fields, "Directions of the residual stream", about, use)


def _row(name: str, direction: Direction) -> str:
    point = direction.hook_point
    cells = (
        quoted(name),
        f"{direction.d_model:,}",
        "not stated" if point is None else quoted(point),
        f"{direction.norm:.4g}",
        quoted(direction.origin.get("find", "not stated")),
        f"`{direction.sha256[:16]}…`",
    )
    return "| " + " | ".join(cells).replace("\n", " ") + " |"
