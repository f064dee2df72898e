"""What stays programmed: each device has room of its own."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from hetc.huggingface.live.programmings import CPU_LIMIT, Programmings  # noqa: E402


@dataclass(frozen=True)
class Held:
    """Crossbars of a size."""

    bytes: int
    device: torch.device


def test_a_device_makes_room_on_itself() -> None:
    programmings = Programmings(10)
    first, other = torch.device("cuda", 0), torch.device("cuda", 1)
    made = []

    def get(key: str, size: int, device: torch.device) -> None:
        programmings.get(key, lambda: made.append(key) or Held(size, device))

    for key, size, device in (("a", 6, first), ("b", 6, other), ("c", 4, first), ("a", 6, first)):
        get(key, size, device)
    assert made == ["a", "b", "c"]
    get("d", 4, first)  # c was used longest ago
    get("e", 11, first)  # too large for anybody's place
    for key, size, device in (("a", 6, first), ("b", 6, other), ("d", 4, first), ("c", 4, first)):
        get(key, size, device)
    assert made == ["a", "b", "c", "d", "e", "c"]


def test_a_computer_has_its_limit() -> None:
    assert Programmings().limit_on(torch.device("cpu")) == CPU_LIMIT
    assert Programmings(3).limit_on(torch.device("cpu")) == 3
