"""A cache of the Hugging Face hub written by hand, and a hub of a few answers."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any

__all__ = ["REVISION", "serve_hub", "write_snapshot"]

REVISION = "0123456789abcdef0123456789abcdef01234567"


def write_snapshot(
    cache: Path, repository: str, files: Mapping[str, Path], *, revision: str = REVISION, shared: bool = False
) -> Path:
    """Writes a repository as huggingface_hub keeps it: links into blobs; returns the snapshot's folder.

    Args:
        cache: The folder that HF_HUB_CACHE names.
        repository: `OWNER/NAME`.
        files: By their paths in the repository.
        revision: The commit, which `main` leads to.
        shared: Whether blobs are links into the store of the whole cache, each in a folder of its own.
    """
    home = cache / f"models--{repository.replace('/', '--')}"
    for folder in ("blobs", "refs", f"snapshots/{revision}"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    (home / "refs/main").write_text(revision)
    for name, source in files.items():
        content = source.read_bytes()
        digest = hashlib.sha256(name.encode() + content).hexdigest()
        blob = home / "blobs" / digest
        if shared:
            store = cache / "blobs" / digest[:2]
            store.mkdir(parents=True, exist_ok=True)
            (store / digest).write_bytes(content)
            blob.symlink_to(Path("../../blobs", digest[:2], digest))
        else:
            blob.write_bytes(content)
        link = home / "snapshots" / revision / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path(*[".."] * (len(PurePosixPath(name).parts) + 1), "blobs", digest))
    return home / "snapshots" / revision


@contextmanager
def serve_hub(repository: str, files: Mapping[str, Path]) -> Iterator[tuple[str, list[str]]]:
    """A hub with one repository: its address, and the files that were downloaded so far."""
    downloaded: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(repository, files, downloaded))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", downloaded
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(
    repository: str, files: Mapping[str, Path], downloaded: list[str]
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Says nothing."""

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            path = self.path.partition("?")[0]
            resolve = f"/{repository}/resolve/{REVISION}/"
            if path == f"/api/models/{repository}/revision/main":
                self._send(json.dumps({"id": repository, "sha": REVISION, "siblings": []}).encode(), body)
            elif path == f"/api/models/{repository}/tree/{REVISION}":
                tree = [
                    {"type": "file", "path": name, "size": file.stat().st_size, "oid": _oid(name)}
                    for name, file in files.items()
                ]
                self._send(json.dumps(tree).encode(), body)
            elif path.startswith(resolve) and path.removeprefix(resolve) in files:
                name = path.removeprefix(resolve)
                if body:
                    downloaded.append(name)
                self._send(files[name].read_bytes(), body, ETag=f'"{_oid(name)}"')
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def _send(self, content: bytes, body: bool, **headers: str) -> None:
            self.send_response(200)
            for key, value in {**headers, "X-Repo-Commit": REVISION}.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

    return Handler


def _oid(name: str) -> str:
    return hashlib.sha1(name.encode()).hexdigest()
