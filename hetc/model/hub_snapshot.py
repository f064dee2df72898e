"""Folders of the Hugging Face cache: snapshots of repositories, whose files are links into folders of blobs.

    models--OWNER--NAME/snapshots/REVISION/config.json -> ../../blobs/HASH

A blob may be a link in turn, into a store beside the repositories that all of them share.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Snapshot", "belongs_to", "find_snapshot"]

SNAPSHOTS, BLOBS, MODELS = "snapshots", "blobs", "models--"


@dataclass(frozen=True)
class Snapshot:
    """A revision of a repository, in the cache.

    Attributes:
        folder: Its folder, `.../snapshots/REVISION`.
        inside: The path in it that it was found from, with `/`; empty for the folder itself.
    """

    folder: Path
    inside: str = ""

    @property
    def repository(self) -> str:
        """`OWNER/NAME`, as far as the cache's folder says it."""
        return self.folder.parent.parent.name.removeprefix(MODELS).replace("--", "/")

    @property
    def id(self) -> str:
        """What names the place on the hub: `hf://OWNER/NAME@REVISION/PATH`."""
        return f"hf://{self.repository}@{self.folder.name}{'/' if self.inside else ''}{self.inside}"

    @property
    def homes(self) -> tuple[Path, ...]:
        """Where its files really lie: the blobs of the repository, and those that the cache shares."""
        repository = self.folder.parent.parent
        return repository / BLOBS, repository.parent / BLOBS


def find_snapshot(path: Path) -> Snapshot | None:
    """The snapshot that a file or folder is in; None for one outside of the cache."""
    whole = path.parent.resolve() / path.name if path.name not in ("", "..") else path.resolve()
    for folder in (whole, *whole.parents):
        if folder.parent.name == SNAPSHOTS and folder.parent.parent.name.startswith(MODELS):
            inside = whole.relative_to(folder).as_posix()
            return Snapshot(folder, "" if inside == "." else inside)
    return None


def belongs_to(folder: Path, file: Path) -> bool:
    """Whether a file really lies in a folder, or, in the cache, in the blobs of the folder's snapshot.

    What a link of somebody else leads to must be neither read nor shared as if it were the folder's. Links
    that go round in a circle lead nowhere.
    """
    snapshot = find_snapshot(folder)
    homes = (folder.resolve(), *(() if snapshot is None else snapshot.homes))
    try:
        real = file.resolve()
    except (OSError, RuntimeError):  # RuntimeError before Python 3.13
        return False
    return any(home in real.parents for home in homes)
