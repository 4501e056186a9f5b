"""What somebody who publishes should know, though it stops nothing: the base's licence and who may see it.

The rule of names is that of the Llama 3 and 4 community licences: what is made from these models begins its
name with "Llama".
"""

from __future__ import annotations

from collections.abc import Iterator

from surgery.checkpoint.legal import legal_files
from surgery.errors import UploadError
from surgery.hub import repository as hub
from surgery.hub.repository import Repository
from surgery.publish.bundle import Bundle

_NAMED = ("llama3", "llama4")


def advice(
    bundle: Bundle, name: str, repository: Repository | None, *, public: bool, gated: bool | str
) -> Iterator[str]:
    """Sentences to read before publishing; asks the Hub about the base.

    Args:
        name: where the bundle would go.
        repository: what stands there.
        public: whether publishing there in the open was asked for.
        gated: how access will be granted there, False for without asking.
    """
    if public and repository is not None and repository.private:
        yield f"{name} exists and stays private; its own settings page makes it public"
    yield from _licence(bundle, name.split("/")[1])
    if bundle.base is not None:
        yield from _about_base(bundle, bundle.base, gated=gated)


def _licence(bundle: Bundle, name: str) -> Iterator[str]:
    licence = str(bundle.fields.get("license_name") or bundle.fields.get("license") or "")
    if not licence:
        yield (
            "the card names no licence: look up what the base's allows before others can see this, and give"
            " it by --license"
        )
    elif licence.lower().startswith(_NAMED) and not name.lower().startswith("llama"):
        yield f"the base's licence ({licence}) asks that the name of what is made from it begin with 'Llama'"


def _about_base(bundle: Bundle, base: str, *, gated: bool | str) -> Iterator[str]:
    try:
        found = hub.find_repository(base)
        if found is None:
            return
        if found.gated and not gated:
            yield f"the base {base} is gated ({found.gated}): --gated {found.gated} gates this one too"
        legal = legal_files(hub.remote_files(base, "main"))
    except UploadError as error:
        yield f"the base could not be looked up: {error}"
        return
    missing = sorted(set(legal) - bundle.files.keys())
    if missing:
        yield f"the base carries {', '.join(missing)}, which this does not; its licence may ask for a copy"
