"""Does the jobs of a sweep on the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import joblib
from distributed import Client, Worker, WorkerPlugin

from hetc.base.errors import UsageError
from hetc.evaluation.origin import device_kind

__all__ = ["kinds_on", "on_cluster"]

PATIENCE = 10
"""Seconds in which a scheduler answers and has a worker."""
MODEL = "hetc-model"
"""The resource, in Dask's sense, of which each worker has one and each job on a checkpoint takes one."""


class OneModel(WorkerPlugin):
    """Gives every worker, also one that comes later, one model to run jobs on.

    A worker with many threads would run several at once, and a job's plan changes what the model computes.
    """

    name = MODEL

    async def setup(self, worker: Worker) -> None:
        """Called on the worker."""
        await worker.set_resources(**{MODEL: 1})


@contextmanager
def on_cluster(scheduler: str, *, one_at_a_time: bool) -> Iterator[None]:
    """Within the block, joblib's jobs run there.

    Args:
        scheduler: Its address.
        one_at_a_time: Whether a worker takes one job at a time, however many threads it has.

    Raises:
        UsageError: The scheduler can't be reached, or has no worker.
    """
    with _connected(scheduler) as client:
        takes: dict[str, Any] = {}
        if one_at_a_time:
            client.register_plugin(OneModel())
            takes["resources"] = {MODEL: 1}
        with joblib.parallel_config(backend="dask", **takes):
            yield


def kinds_on(scheduler: str, device: str) -> dict[str, str]:
    """What sort of device a name stands for on each worker, by the worker's address.

    Raises:
        UsageError: A worker can't use the device, or the scheduler can't be reached or has no worker.
    """
    with _connected(scheduler) as client:
        kinds: dict[str, str] = client.run(device_kind, device)
        return kinds


@contextmanager
def _connected(scheduler: str) -> Iterator[Any]:
    try:
        client = Client(scheduler, timeout=PATIENCE)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise UsageError(f"scheduler {scheduler}: {error}; start one with `dask scheduler`") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError as error:
            raise UsageError(
                f"scheduler {scheduler} has no worker; start some with `dask worker`, or with `dask cuda "
                "worker` one on each GPU"
            ) from error
        yield client
