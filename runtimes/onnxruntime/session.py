"""Opens ONNX Runtime sessions, with hetc's operator library or without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir
import onnxruntime

from hetc.base.errors import InvalidInputError, RuntimeMissingError, UsageError
from hetc.base.text import as_utf8
from hetc.model.external_tensors import follow_links
from hetc.model.hub_snapshot import find_snapshot
from hetc.runtimes.onnxruntime.library import library_path

__all__ = ["MOST_THREADS", "open_graph", "open_session", "placed_operators", "require_opens"]

PROVIDERS = ["CPUExecutionProvider"]

MOST_THREADS = 1024
"""Threads of one session: more than any machine has cores, and few enough for their stacks."""

UNCHANGED = {"session.disable_prepacking": "1"}
"""Session entries that leave weights where they lie."""

FATAL = 4
"""Severity from which ONNX Runtime logs: its errors come as exceptions, and once is enough."""

FOLDER_KEY = "session.model_external_initializers_file_folder_path"
"""Session entry: where the weights of a model lie that is given in memory."""


def open_session(
    model: Path | bytes,
    config: Mapping[str, str] | None = None,
    *,
    threads: int | None = None,
    library: bool = True,
) -> onnxruntime.InferenceSession:
    """A CPU session of a model.

    Args:
        model: Path of the model, or the model itself.
        config: Session configuration entries, `hetc.*` among them (docs/operators.md).
        threads: Threads of the session's pool; None leaves it to ONNX Runtime.
        library: Whether to register hetc's operators.

    Raises:
        RuntimeMissingError: ONNX Runtime is too old, or the library is missing or doesn't load.
        UsageError: The library refused a configuration entry, or a number of threads that no session has.
        InvalidInputError: ONNX Runtime refused the model.
    """
    if isinstance(model, Path) and model.is_symlink() and find_snapshot(model) is not None:
        return open_graph(ir.load(model), model.parent, config, threads=threads, library=library)
    return _open(model, _options(config, threads=threads, library=library))


def open_graph(
    model: ir.Model,
    folder: Path,
    config: Mapping[str, str] | None = None,
    *,
    threads: int | None = None,
    library: bool = True,
) -> onnxruntime.InferenceSession:
    """A session of a model in memory, whose weights lie in a folder; the rest as for `open_session`.

    Where they are links, as in the Hugging Face cache, the model is told what these lead to.
    """
    entries = {**(config or {}), FOLDER_KEY: as_utf8(follow_links(model, folder).absolute())}
    given = ir.to_proto(model).SerializeToString()
    return open_session(given, entries, threads=threads, library=library)


def require_opens(model: Path, made_of: str) -> None:
    """Sees that ONNX Runtime takes a model, before anybody is given it.

    The graph is resolved and every kernel made, while weights stay in the file map: neither packed, nor
    folded, nor read.

    Args:
        model: Path of the model.
        made_of: What it was made of, such as `model here.onnx`; begins the message.

    Raises:
        RuntimeMissingError: The library is missing.
        InvalidInputError: ONNX Runtime refuses it.
    """
    options = _options(UNCHANGED, threads=1)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        _open(model, options)
    except InvalidInputError:
        # A node that optimisations remove needs no kernel.
        try:
            _open(model, _options(UNCHANGED, threads=1))
        except InvalidInputError as error:
            reason = str(error.__cause__).replace(str(model), model.name)
            raise InvalidInputError(
                f"{made_of}: ONNX Runtime refuses what becomes of it, so nothing was written: {reason}"
            ) from error


def _options(
    config: Mapping[str, str] | None = None, *, threads: int | None = None, library: bool = True
) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    if threads is not None:
        if not isinstance(threads, int) or isinstance(threads, bool) or not 1 <= threads <= MOST_THREADS:
            raise UsageError(f"threads {threads!r} is not a whole number from 1 to {MOST_THREADS}")
        options.intra_op_num_threads = threads
    for key, value in (config or {}).items():
        options.add_session_config_entry(key, as_utf8(value))
    if library:
        path = library_path()
        try:
            options.register_custom_ops_library(as_utf8(path))
        except Exception as error:  # ONNX Runtime's Python errors share no base class
            raise RuntimeMissingError(
                f"the operator library {path} does not load: {error}; install hetc again"
            ) from error
    return options


def _open(model: Path | bytes, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    """Opens a session, and says whose fault it is where ONNX Runtime refuses."""
    given = model if isinstance(model, bytes) else as_utf8(model)
    try:
        # Falling back would try the same again, and print on stdout.
        return onnxruntime.InferenceSession(given, options, providers=PROVIDERS, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's Python errors share no base class
        message = str(error)
        if "session entry hetc." in message:
            raise UsageError(message[message.index("session entry") :]) from error
        where = given if isinstance(given, str) else "in memory"
        raise InvalidInputError(f"model {where}: ONNX Runtime refused it: {message}") from error


def placed_operators(model: Path) -> Counter[str]:
    """How many nodes of each operator of domain hetc ONNX Runtime gave to the library's kernels."""
    options = {"session.record_ep_graph_assignment_info": "1"}
    session = open_session(model, options)
    return Counter(
        node.op_type
        for subgraph in session.get_provider_graph_assignment_info()
        for node in subgraph.get_nodes()
        if node.domain == "hetc"
    )
