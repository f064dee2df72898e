"""Places on the Hugging Face hub, written `hf://OWNER/NAME[@REVISION][/PATH]`, as paths on this machine.

`local_path` is what every command asks that takes a model, a checkpoint or a tokenizer. The spelling is that
of `huggingface_hub`, which also downloads, keeps its cache, and does without a network where it has all
(`HF_HUB_OFFLINE=1`). Only files that hetc will read are downloaded.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from hetc.base.errors import UsageError
from hetc.base.extras import needs
from hetc.base.progress import progress
from hetc.model.text_files import TEXT_FILES

__all__ = [
    "CHECKPOINT_FILES",
    "NOT_FROM_THE_HUB",
    "HubPlace",
    "Wanted",
    "as_hub_id",
    "is_hub_id",
    "local_path",
]

Wanted = Literal["model", "checkpoint", "tokenizer"]

PREFIX, ONE_SLASH = "hf://", "hf:/"
SPELLING = "hf://OWNER/NAME, hf://OWNER/NAME@REVISION or hf://OWNER/NAME/PATH"
CHECKPOINT_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
"""What makes up a checkpoint; other files in its folder don't change what it computes."""
NOT_FROM_THE_HUB = (
    "and bundles are run from a folder of their own; download it: hf download OWNER/NAME --local-dir FOLDER"
)
SAME_AGAIN = "consolidated*.safetensors"
"""Mistral's repositories hold their weights twice, once in files of these names."""


def is_hub_id(given: str | Path) -> bool:
    """Whether something names a place on the hub; in a `Path`, two slashes have become one."""
    return str(given).startswith(ONE_SLASH)


def as_hub_id(given: str | Path) -> str:
    """A place on the hub as it was written."""
    return PREFIX + str(given).removeprefix(PREFIX).removeprefix(ONE_SLASH)


def local_path(given: str | Path, wanted: Wanted) -> Path:
    """A path on this machine: what was given, or, of a place on the hub, where it is after a download.

    Args:
        given: A path, or `hf://OWNER/NAME[@REVISION][/PATH]`.
        wanted: `model` for an ONNX file: that of PATH, or the one that `choose_model` finds in a folder;
            with its external data, configuration and tokenizer. `checkpoint` for a folder with configuration
            and safetensors, or a GGUF file. `tokenizer` for a folder with tokenizer.json.

    Raises:
        UsageError: No such place, or it can't be had: without a network, without permission; or it holds no
            model. The message says which, and what to do.
        RuntimeMissingError: huggingface_hub is not installed.
    """
    if not is_hub_id(given):
        return Path(given)
    place = HubPlace.parse(as_hub_id(given))
    if wanted == "model":
        from hetc.model.hub_model import fetch_model  # needs onnx, which takes a second to load

        return fetch_model(place)
    if place.path.suffix in (".gguf", ".json"):
        return place.fetch([str(place.path)]) / place.path
    if wanted == "tokenizer":
        return place.fetch(str(place.path / name) for name in TEXT_FILES) / place.path
    patterns = [f"{glob.escape(str(place.path))}/{name}".removeprefix("./") for name in CHECKPOINT_FILES]
    deeper = f"{glob.escape(str(place.path))}/*/*".removeprefix("./")
    return place.fetch(patterns, exact=False, without=[deeper, SAME_AGAIN]) / place.path


@dataclass(frozen=True)
class HubPlace:
    """A file or folder of a repository.

    Attributes:
        given: What the user wrote, for messages.
        repository: `OWNER/NAME`.
        revision: A branch, tag or commit; None for the main branch.
        path: In the repository; `.` for all of it.
    """

    given: str
    repository: str
    revision: str | None
    path: PurePosixPath

    @classmethod
    def parse(cls, given: str) -> HubPlace:
        """Reads `hf://...`."""
        with needs("hub", given):
            from huggingface_hub import parse_hf_uri
            from huggingface_hub.errors import HfUriError
        try:
            uri = parse_hf_uri(given)
        except HfUriError as error:
            raise UsageError(f"{given} names no place on the hub; write {SPELLING}") from error
        if uri.type != "model":
            raise UsageError(f"{given} is a {uri.type}; give a repository of a model: {SPELLING}")
        return cls(given, uri.id, uri.revision, PurePosixPath(uri.path_in_repo))

    def fetch(self, files: Iterable[str], *, exact: bool = True, without: Iterable[str] = ()) -> Path:
        """Downloads files of the repository that aren't in the cache; the snapshot's folder.

        Args:
            files: Paths in the repository; those that it doesn't have are passed by.
            exact: Whether a `*` in them is only a `*`.
            without: Patterns of files to leave.
        """
        from huggingface_hub import snapshot_download

        patterns = [glob.escape(file) if exact else file for file in files]
        try:
            with progress(f"fetching {self.repository}"):
                folder = snapshot_download(
                    self.repository,
                    revision=self.revision,
                    allow_patterns=patterns,
                    ignore_patterns=list(without),
                )
        except Exception as error:  # the hub client raises many kinds, network errors among them
            raise UsageError(f"{self.given}: {_reason(error, self.repository)}") from error
        return Path(folder)

    def files(self, folder: Path) -> list[str]:
        """All files of the repository; those of a snapshot's folder where nothing else is known of it."""
        from huggingface_hub import get_cached_repo_tree
        from huggingface_hub.errors import CachedRepoTreeNotFoundError

        try:
            return [file.path for file in get_cached_repo_tree(self.repository, revision=folder.name)]
        except CachedRepoTreeNotFoundError:
            return [
                file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*")) if file.is_file()
            ]


def _reason(error: Exception, repository: str) -> str:
    """What kept the hub client from a download, and what to do."""
    from huggingface_hub import constants, errors

    if isinstance(error, errors.GatedRepoError):
        page = f"{constants.ENDPOINT}/{repository}"
        return f"its owner lets in whom they know; ask on {page}, then run `hf auth login`"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "no such repository, or a private one; check the name, or run `hf auth login`"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the repository has no such revision; check what follows the @"
    if isinstance(error, errors.HFValidationError):
        return f"no name of a repository; give a local folder, or {SPELLING}"
    if constants.HF_HUB_OFFLINE:
        return "not, or not all of it, in the local cache, and HF_HUB_OFFLINE is set; run once without it"
    return (
        f"the hub client could not fetch it ({type(error).__name__}) and the local cache lacks some of it; "
        "check the connection, or give a local folder"
    )
