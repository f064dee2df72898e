"""Files are brought into an output by copying or linking."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from hetc.base.bring_files import bring_files
from hetc.base.errors import UsageError


def test_links_go_to_what_a_symbolic_link_means(tmp_path: Path) -> None:
    """As in the hub's cache, where a snapshot's files lead to blobs."""
    (tmp_path / "blob").write_bytes(b"weights")
    (tmp_path / "model.safetensors").symlink_to("blob")
    bring_files({tmp_path / "model.safetensors": tmp_path / "out" / "model.safetensors"}, link=True)
    target = tmp_path / "out" / "model.safetensors"
    assert not target.is_symlink()
    assert target.samefile(tmp_path / "blob")


def test_a_link_across_file_systems_names_the_other_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    (tmp_path / "weights").write_bytes(b"weights")
    monkeypatch.setattr("os.link", refuse)
    with pytest.raises(UsageError, match=r"cross-device link.*without --link"):
        bring_files({tmp_path / "weights": tmp_path / "out"}, link=True)


@pytest.mark.parametrize("within", [True, False])
def test_copies_with_and_without_the_kernels_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, within: bool
) -> None:
    if not within:
        monkeypatch.delattr("os.copy_file_range", raising=False)
    monkeypatch.setattr("hetc.base.bring_files.COPY_BLOCK", 1000)
    data = bytes(range(256)) * 99
    (tmp_path / "weights").write_bytes(data)
    bring_files({tmp_path / "weights": tmp_path / "out"}, link=False)
    assert (tmp_path / "out").read_bytes() == data
