"""What the schema allows at each place, read off its type annotations.

The reader needs the same facts for several ends: to say in words what was expected, to suggest a key, to
follow an override's path, to find every prompt set. They all walk the recipe and this description together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import Discriminator, Tag
from pydantic.fields import FieldInfo

from surgery.recipe.document import Path
from surgery.recipe.schema import Recipe
from surgery.recipe.section import Section

Kind = Literal[
    "section", "tagged", "either", "list", "mapping", "choice", "text", "integer", "number", "bool", "any"
]

_SCALARS: dict[Any, Kind] = {str: "text", int: "integer", float: "number", bool: "bool"}


@dataclass(frozen=True)
class Shape:
    """What may stand at one place of a recipe."""

    kind: Kind
    section: type[Section] | None = None
    """The class, where kind is section."""
    members: tuple[Shape, ...] = ()
    """The alternatives of a tagged union, each with its tag, or of a plain one (either)."""
    items: Shape | None = None
    """The shape of what a list or mapping holds."""
    choices: tuple[str, ...] = ()
    bounds: tuple[str, ...] = ()
    """Limits on a number, in words: `≥ 1`."""
    minimum_length: int = 0
    optional: bool = False
    tag: str = ""
    discriminator: str | Callable[[Any], str | None] | None = None

    def keys(self) -> dict[str, Shape]:
        """The keys of a section; of a union, the keys of all its sections together."""
        if self.section is not None:
            return dict(section_keys(self.section))
        return {key: shape for member in self.members for key, shape in member.keys().items()}

    def tag_keys(self) -> tuple[str, ...]:
        """The keys that tell the members of a tagged union apart: `find`, or `ablate` and `add`."""
        if isinstance(self.discriminator, str):
            return (self.discriminator,)
        return tuple(required_keys(member)[0] for member in self.members)

    def tags(self) -> tuple[str, ...]:
        """The values that the discriminator key may take, where there is one such key."""
        return tuple(member.tag for member in self.members)


def root_shape(schema: type[Section] = Recipe) -> Shape:
    """The shape of a whole document: by default of a recipe."""
    return Shape("section", section=schema)


@cache
def section_keys(section: type[Section]) -> dict[str, Shape]:
    """The keys of a section in the order of the schema."""
    return {name: shape_of(field.annotation, _facts(field)) for name, field in section.model_fields.items()}


def required_keys(shape: Shape) -> tuple[str, ...]:
    """The keys of a section that have no default."""
    fields = shape.section.model_fields if shape.section else {}
    return tuple(name for name, field in fields.items() if field.is_required())


def member_for(shape: Shape, value: Any) -> Shape:
    """The alternative of a union that `value` was meant as; the union itself where nothing tells."""
    if shape.kind == "tagged":
        if not isinstance(value, dict):
            return shape
        key = shape.discriminator
        tag = value.get(key) if isinstance(key, str) else key(value) if key else None
        return next((member for member in shape.members if member.tag == tag), shape)
    if shape.kind == "either":
        wanted: tuple[Kind, ...] = ("list",) if isinstance(value, list) else ("section", "mapping")
        fits = [member for member in shape.members if member.kind in wanted]
        return fits[0] if fits and isinstance(value, list | dict) else shape
    return shape


def inside(shape: Shape, value: Any) -> Shape:
    """The shape that says what stands below `value`.

    Of a union that is the alternative that `value` was meant as, of a shorthand what it stands for.
    """
    shape = member_for(shape, value)
    shorthand = shape.section.shorthand if shape.section else None
    return shape.keys()[shorthand] if shorthand and not isinstance(value, dict) else shape


def child(shape: Shape, key: str | int, value: Any) -> Shape | None:
    """The shape below `key` of `value`, or None where the schema knows no such place."""
    shape = inside(shape, value)
    if shape.kind in ("list", "mapping"):
        return shape.items if isinstance(key, int) == (shape.kind == "list") else None
    if shape.kind == "any":
        return shape
    return shape.keys().get(key) if isinstance(key, str) else None


def walk(shape: Shape, value: Any, path: Path = ()) -> Iterator[tuple[Path, Shape, Any]]:
    """Every place of `value` that the schema knows, in order, with its shape."""
    shape = member_for(shape, value)
    yield path, shape, value
    if shape.kind == "any":
        return
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in pairs:
        below = child(shape, key, value)
        if below is not None:
            yield from walk(below, each, (*path, key))


def shape_of(annotation: Any, facts: tuple[Any, ...] = ()) -> Shape:
    """Read one annotation, with the constraints that stand beside it."""
    if get_origin(annotation) is Annotated:
        inner, *beside = get_args(annotation)
        return shape_of(inner, (*facts, *(fact for each in beside for fact in _facts(each))))
    return _constrained(_bare(annotation, facts), facts)


def _bare(annotation: Any, facts: tuple[Any, ...]) -> Shape:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return _union(arguments, facts)
    if origin is Literal:
        return Shape("choice", choices=arguments)
    if origin in (list, tuple):
        return Shape("list", items=shape_of(arguments[0]))
    if origin is dict:
        return Shape("mapping", items=shape_of(arguments[-1]))
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return Shape("section", section=annotation)
    return Shape(_SCALARS.get(annotation, "any"))


def _union(arguments: tuple[Any, ...], facts: tuple[Any, ...]) -> Shape:
    present = [argument for argument in arguments if argument is not NoneType]
    optional = len(present) < len(arguments)
    if len(present) == 1:
        return replace(shape_of(present[0], facts), optional=optional)
    found = (fact.discriminator for fact in facts if isinstance(fact, Discriminator))
    discriminator: Any = next(found, None)
    members = tuple(_tagged(shape_of(argument), discriminator) for argument in present)
    kind: Kind = "tagged" if discriminator else "either"
    return Shape(kind, members=members, optional=optional, discriminator=discriminator)


def _tagged(member: Shape, discriminator: Any) -> Shape:
    """A member of a union with a discriminator key carries the key's one allowed value as its tag."""
    if isinstance(discriminator, str):
        return replace(member, tag=member.keys()[discriminator].choices[0])
    return member


def _facts(field: Any) -> tuple[Any, ...]:
    """The constraints that pydantic keeps beside an annotation, a discriminator key as a Discriminator."""
    if not isinstance(field, FieldInfo):
        return (field,)
    key = field.discriminator
    return (*field.metadata, *((Discriminator(key),) if isinstance(key, str) else (key,) if key else ()))


def _constrained(shape: Shape, facts: tuple[Any, ...]) -> Shape:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    limits = ((fact, name) for fact in facts for name in signs if hasattr(fact, name))
    bounds = [f"{signs[name]} {getattr(fact, name)}" for fact, name in limits]
    lengths = (fact.min_length for fact in facts if hasattr(fact, "min_length"))
    length = max(lengths, default=shape.minimum_length)
    tag = next((fact.tag for fact in facts if isinstance(fact, Tag)), shape.tag)
    return replace(shape, bounds=shape.bounds or tuple(bounds), minimum_length=length, tag=tag)
