"""Many threads on one session, and sessions that come and go."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from digital_neurons import rank_neurons
from kernel_runs import MATMUL, NOISY, open_kernel
from single_node import ANALOG_ATTRIBUTES, single_node_model

THREADS = 8
HIDDEN, INTERMEDIATE = 96, 72
CONFIGURATIONS = [
    {"hetc.store": "bfloat16"},
    {"hetc.store": "float32"},
    {"hetc.store": "int8"},
    {"hetc.mode": "converters"},
    {"hetc.mode": "exact"},
    {"hetc.digital_frac": "0.25"},
]


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def model_of(operator: str) -> onnx.ModelProto:
    x = normal(1, HIDDEN)
    if operator == "AnalogMatMul":
        ranks, group = rank_neurons(
            input_rank=np.zeros(HIDDEN, bool), output_rank=np.zeros(INTERMEDIATE, bool)
        )
        attributes = {**MATMUL, **NOISY, **group, "tile_rows": 40}
        return single_node_model(operator, x, {"w": normal(INTERMEDIATE, HIDDEN), **ranks}, attributes)
    weights: dict[str, Any] = {
        "gate": normal(INTERMEDIATE, HIDDEN),
        "up": normal(INTERMEDIATE, HIDDEN),
        "down": normal(HIDDEN, INTERMEDIATE),
    }
    streams = {"gate_stream": 0, "up_stream": 1, "down_stream": 2}
    ranks, group = rank_neurons(neuron_rank=np.zeros(INTERMEDIATE, bool))
    attributes = {**ANALOG_ATTRIBUTES, **NOISY, **group, "tile_rows": 40, **streams, "activation": "silu"}
    return single_node_model(operator, x, {**weights, **ranks}, attributes)


@pytest.mark.parametrize("config", CONFIGURATIONS, ids=lambda config: next(iter(config.values())))
@pytest.mark.parametrize("operator", ["AnalogMatMul", "AnalogExpert"])
def test_threads_get_the_answers_of_one(operator: str, config: dict[str, str]) -> None:
    """The first runs race to program the weights; a seed of its own keeps other tests' copies out."""
    model = model_of(operator)
    entries = {"session.intra_op.allow_spinning": "0", "hetc.seed": "77", **config}
    inputs = [normal(rows, HIDDEN) for rows in (1, 2, 3, 5, 17, 40, 64, 130)] * 3
    shared = open_kernel(model, entries, threads=2)
    with ThreadPoolExecutor(THREADS) as pool:
        together = list(pool.map(lambda x: shared.run(None, {"x": x})[0], inputs))
    alone = open_kernel(model, entries)
    for x, y in zip(inputs, together, strict=True):
        expected = alone.run(None, {"x": x})[0]
        np.testing.assert_array_equal(y.view(np.uint32), expected.view(np.uint32))


def resident() -> int:
    """Bytes of this process that lie in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs /proc")
def test_sessions_that_come_and_go_leak_nothing() -> None:
    """1,000 sessions with a programmed store of 55 kB and more each; a leak of one in ten would show."""
    model = model_of("AnalogExpert")
    x = normal(4, HIDDEN)

    def open_and_close(count: int, first: int) -> None:
        for seed in range(first, first + count):
            open_kernel(model, {"hetc.seed": str(seed), "hetc.store": "float32"}).run(None, {"x": x})
        gc.collect()

    open_and_close(200, 0)
    before = resident()
    open_and_close(1000, 200)
    assert resident() - before < 4 << 20
