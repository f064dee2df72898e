"""Opens ONNX Runtime sessions, with hetc's operator library or without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import onnx_ir as ir
import onnxruntime

from hetc.base.errors import InvalidInputError, RuntimeMissingError, UsageError
from hetc.runtimes.onnxruntime.library import library_path

__all__ = ["PROVIDERS", "open_graph", "open_session", "placed_operators", "refusals", "session_options"]

PROVIDERS = ["CPUExecutionProvider"]

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
        UsageError: The library refused a configuration entry.
        InvalidInputError: ONNX Runtime refused the model.
    """
    options = session_options(config, threads=threads, library=library)
    with refusals(model):
        return onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model), options, providers=PROVIDERS
        )


def open_graph(
    model: ir.Model, folder: Path, config: Mapping[str, str] | None = None, *, threads: int | None = None
) -> onnxruntime.InferenceSession:
    """A session of a model in memory, whose weights lie in a folder; the rest as for `open_session`."""
    entries = {**(config or {}), FOLDER_KEY: str(folder.absolute())}
    return open_session(ir.to_proto(model).SerializeToString(), entries, threads=threads)


def session_options(
    config: Mapping[str, str] | None = None, *, threads: int | None = None, library: bool = True
) -> onnxruntime.SessionOptions:
    """The options of a session; arguments and errors as for `open_session`."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it refuses is in the exception
    if threads is not None:
        options.intra_op_num_threads = threads
    for key, value in (config or {}).items():
        options.add_session_config_entry(key, value)
    if library:
        path = library_path()
        try:
            options.register_custom_ops_library(str(path))
        except Exception as error:  # ONNX Runtime's Python errors share no base class
            raise RuntimeMissingError(
                f"the operator library {path} does not load: {error}; install hetc again"
            ) from error
    return options


@contextmanager
def refusals(model: Path | bytes) -> Iterator[None]:
    """Says whose fault it is where ONNX Runtime refuses a model: `UsageError` or `InvalidInputError`."""
    try:
        yield
    except Exception as error:  # ONNX Runtime's Python errors share no base class
        message = str(error)
        if "session entry hetc." in message:
            raise UsageError(message[message.index("session entry") :]) from error
        where = "in memory" if isinstance(model, bytes) else str(model)
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
