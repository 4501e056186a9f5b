"""What stands on the Hub against what stands here, by every file's hash.

Large files carry their SHA-256 there, which is compared with the manifest's; small ones, which git itself
keeps, carry git's own hash of the content, which is computed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from surgery.hub.repository import RemoteFile
from surgery.publish.bundle import LocalFile

_HUBS_OWN = frozenset({".gitattributes"})
"""The Hub writes this one into every repository it makes."""


def different(files: Mapping[str, LocalFile], there: Mapping[str, RemoteFile]) -> Iterator[str]:
    """The files that are not there, or not with the same bytes."""
    for name, local in files.items():
        remote = there.get(name)
        if remote is None or not _same(local, remote):
            yield name


def strangers(files: Mapping[str, LocalFile], there: Mapping[str, RemoteFile]) -> list[str]:
    """The files that stand there and are none of these."""
    return sorted(there.keys() - files.keys() - _HUBS_OWN)


def disagreements(files: Mapping[str, LocalFile], there: Mapping[str, RemoteFile]) -> Iterator[str]:
    """What is not as it should be, one sentence each; nothing where it is whole."""
    for name in different(files, there):
        said = "is not there" if name not in there else "stands there with another hash than here"
        yield f"{name}: {said}"
    for name in strangers(files, there):
        yield f"{name}: stands there and is no file of the result"


def _same(local: LocalFile, remote: RemoteFile) -> bool:
    if remote.size != local.size:
        return False
    if remote.sha256 is not None:
        return remote.sha256 == local.sha256
    return remote.blob_sha1 == local.blob_sha1
