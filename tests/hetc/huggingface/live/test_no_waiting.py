"""A forward through the kernels never waits for the device, so that a CUDA graph can hold it.

Tensors without data stand for those of a device: what would have to look at their values fails on them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("triton")

from live_models import DEVICE, tiny_model  # noqa: E402
from live_plans import live_plan  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

from hetc.hardware.profile import Profile  # noqa: E402
from hetc.huggingface.experts import experts_modules  # noqa: E402
from hetc.huggingface.live import apply  # noqa: E402
from hetc.huggingface.live.apply import apply_plan  # noqa: E402
from hetc.runtimes.torch.kernels import dac, products, rows  # noqa: E402

KERNELS = (dac, "_convert"), (products, "product"), (rows, "_schedule"), (rows, "_combine")
ROWS = 3


class Launches:
    """Kernels that are launched and compute nothing: they take pointers, and data have none here."""

    def __init__(self) -> None:
        self.count = 0

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        assert all(isinstance(size, int) for size in grid)
        return self._launch

    def _launch(self, *_: Any, **__: Any) -> None:
        self.count += 1


@pytest.fixture
def model() -> Any:
    return tiny_model("olmoe")


def step(model: Any) -> None:
    """A token in each row, through the layer's experts and the head."""
    [(_, experts)] = experts_modules(model)
    hidden = torch.randn(ROWS, 16, device=DEVICE)
    chosen = torch.zeros(ROWS, 2, dtype=torch.int64, device=DEVICE)
    experts(hidden, chosen, torch.rand(ROWS, 2, device=DEVICE))
    model.lm_head(hidden)


@pytest.mark.parametrize("heads", [0, 2])
@pytest.mark.parametrize("digital_frac", [0, 0.5])
def test_nothing_waits(model: Any, heads: int, digital_frac: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digital experts, or neurons and rows of the head, among it."""
    monkeypatch.setattr(apply, "kernels_run", lambda device, settings: True)
    plan = live_plan(model, Profile(tile_rows=10), digital_frac=0, dense=("lm_head",), heads=heads)
    with apply_plan(model, plan, mode="converters", digital_frac=digital_frac), torch.inference_mode():
        step(model)  # programs
        launches = Launches()
        for module, kernel in KERNELS:
            monkeypatch.setattr(module, kernel, launches)
        with FakeTensorMode(allow_non_fake_inputs=True):
            step(model)
    # Schedule, DAC and product twice, sum; DAC and product of the head. Digital parts have products alone.
    assert launches.count == 8 + (0 if digital_frac == 0 else 2 if heads == 0 else 5)


def test_the_path_without_kernels_does(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts each expert's rows."""
    monkeypatch.setattr(apply, "kernels_run", lambda device, settings: False)
    plan = live_plan(model, Profile(tile_rows=10))
    with (
        apply_plan(model, plan, mode="converters"),
        torch.inference_mode(),
        FakeTensorMode(allow_non_fake_inputs=True),
        pytest.raises(Exception, match=r"_local_scalar_dense|item|bincount"),
    ):
        step(model)
