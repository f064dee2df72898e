"""DAC, products and ADC of many groups at once against the NumPy reference, group by group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from equality import assert_adc_equal

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from hetc.hardware.profile import Profile  # noqa: E402
from hetc.runtimes.reference import Crossbar, convert, split  # noqa: E402
from hetc.runtimes.reference.programming import weight_scale  # noqa: E402
from hetc.runtimes.reference.settings import crossbar_of  # noqa: E402
from hetc.runtimes.torch.crossbar import Placed, analog_matmul  # noqa: E402
from hetc.runtimes.torch.crossbar import place as place_plainly  # noqa: E402
from hetc.runtimes.torch.kernels import dac  # noqa: E402
from hetc.runtimes.torch.kernels.products import (  # noqa: E402
    Addend,
    Weights,
    analog_product,
    block_rows,
    digital_product,
)
from hetc.runtimes.torch.kernels.rows import combine, sort_rows  # noqa: E402
from hetc.runtimes.torch.kernels.stack import Part, Stack, program_stack  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PROFILE = Profile(tile_rows=50, tile_columns=20)
INPUTS, OUTPUTS, GROUPS = 120, 30, 3
STREAMS = [3, 1, 7]


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def place(
    w: np.ndarray, crossbar: Crossbar, ranges: Any = None, bounds: Any = None, *, by_norm: bool = False
) -> Stack:
    groups = len(w)
    part = Part(torch.from_numpy(w).to(DEVICE), slice(0, w.shape[1]), STREAMS[:groups])
    programmed = program_stack([part], crossbar, bound_unit="norm" if by_norm else "scale")
    return programmed.stack(ranges or [None] * groups, bounds or [None] * groups)


def check_groups(w: np.ndarray, crossbar: Crossbar, ranges: Any = None, bounds: Any = None) -> None:
    """Every token through each of its groups, through the kernels and the reference."""
    tokens, choices = 11, 2
    x = random(tokens, INPUTS, seed=1)
    x[2, 5], x[7, 60] = np.nan, np.inf
    chosen = np.stack([np.random.default_rng(i).permutation(GROUPS)[:choices] for i in range(tokens)])
    rows = sort_rows(torch.from_numpy(chosen).to(DEVICE), GROUPS, 16)
    stack = place(w, crossbar, ranges, bounds)
    codes = dac.convert(torch.from_numpy(x).to(DEVICE), stack, rows, gather=True)
    assert codes.by_group == (ranges is not None)
    out = torch.full((tokens * choices, OUTPUTS), 77.0, device=DEVICE)
    actual = analog_product(codes, stack, rows, out=out, scatter=True).cpu().numpy()
    for group in range(GROUPS):
        token, choice = np.nonzero(chosen == group)
        given: dict[str, Any] = {}
        if ranges is not None:
            given["input_range"] = np.array(ranges[group], np.float32)
        if bounds is not None:
            parts = split(INPUTS, crossbar.tile_rows)
            scales = np.stack(
                [weight_scale(np.ascontiguousarray(w[group].T[part]), crossbar) for part in parts]
            )
            given["adc_bound"] = np.array(bounds[group], np.float32)[:, None] * scales
        expected = convert(x[token], w[group], crossbar, STREAMS[group], transpose_weight=True, **given)
        assert_adc_equal(actual[token * choices + choice], expected)


KINDS: list[tuple[str, dict[str, Any]]] = [
    ("int8", {}),
    ("int8", {"dac_bits": 9}),
    ("bfloat16", {}),
    ("bfloat16", {"adc_bits": 0}),
    ("float32", {"dac_bits": 12, "adc_bits": 24}),
    ("float32", {"dac_bits": 0, "adc_bits": 6, "scale_mode": "tile"}),
]


def kinds_of_groups() -> Iterator[Any]:
    """Every kind with both sorts of ranges; one sort of each is quick enough for the interpreter."""
    for number, (store, changes) in enumerate(KINDS):
        for static in (False, True):
            quick = static == (number % 2 == 1)
            yield pytest.param(store, changes, static, marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize(("store", "changes", "static"), kinds_of_groups())
def test_groups_are_the_references(store: str, changes: dict[str, Any], static: bool) -> None:
    crossbar = crossbar_of(replace(PROFILE, noise_scale=0.5, **changes), "noisy", store=store, seed=5)
    w = random(GROUPS, OUTPUTS, INPUTS)
    w[1, 7] = 0
    ranges = [[1.5, 2.0, 1.0], [2.5, 0.7, 1.0], [1.0, 1.0, 1.0]] if static else None
    bounds = [[4.0, 5.0, 3.0]] * 3 if static else None
    check_groups(w, crossbar, ranges, bounds)


def test_clean_weights() -> None:
    check_groups(random(GROUPS, OUTPUTS, INPUTS), crossbar_of(PROFILE, "converters"))


@pytest.mark.parametrize("rows", [1, 40])
def test_one_matrix(rows: int) -> None:
    crossbar = crossbar_of(PROFILE, "noisy", store="bfloat16")
    w, x, bias = random(1, OUTPUTS, INPUTS), random(rows, INPUTS, seed=1), random(1, OUTPUTS, seed=2)
    stack = place(w, crossbar)
    codes = dac.convert(torch.from_numpy(x).to(DEVICE), stack)
    plain = analog_product(codes, stack, out=torch.empty(rows, OUTPUTS, device=DEVICE)).cpu().numpy()
    assert_adc_equal(plain, convert(x, w[0], crossbar, 3, transpose_weight=True))
    out = torch.empty(rows, OUTPUTS, device=DEVICE)
    analog_product(codes, stack, out=out, bias=torch.from_numpy(bias).to(DEVICE))
    np.testing.assert_allclose(out.cpu(), plain + bias, rtol=1e-6)


@pytest.mark.parametrize("side", ["inputs", "outputs"])
@pytest.mark.parametrize(
    ("store", "changes"),
    [
        ("bfloat16", {"scale_mode": "tile"}),
        ("int8", {}),
        ("float32", {"drift_time": 86400.0, "drift_compensation": "global", "adc_bits": 0}),
    ],
)
def test_digital_lines_stand_on_no_crossbar(store: str, changes: dict[str, Any], side: str) -> None:
    """As the plain path places them, which the reference holds; a whole slice and a whole tile too."""
    crossbar = crossbar_of(replace(PROFILE, **changes), "noisy", store=store, seed=5)
    w, x = (torch.from_numpy(random(*shape)).to(DEVICE) for shape in ((OUTPUTS, INPUTS), (6, INPUTS)))
    mask = np.random.default_rng(0).random(INPUTS if side == "inputs" else OUTPUTS) < 0.3
    mask[: len(mask) // 2] = True
    x[:, torch.from_numpy(mask) if side == "inputs" else slice(0)] *= 9
    placed = place_plainly([Placed(w, 3, **{f"digital_{side}": mask})], crossbar)
    expected = analog_matmul(x, replace(placed, digital=()))
    digital = torch.from_numpy(mask).to(DEVICE)[None]
    part = Part(w[None], slice(0, OUTPUTS), [3], **{f"digital_{side}": digital})
    stack = program_stack([part], crossbar).stack([None], [None])
    actual = analog_product(dac.convert(x, stack), stack, out=torch.empty(6, OUTPUTS, device=DEVICE))
    difference = ((actual - expected).abs() / expected.abs().max()).cpu().numpy()
    assert np.median(difference) < 1e-6
    assert (difference > 1e-5).mean() < 0.02
    assert expected.any()


def test_addends_come_before_rounding() -> None:
    crossbar = crossbar_of(PROFILE, "converters")
    stack = place(random(1, OUTPUTS, INPUTS), crossbar)
    codes = dac.convert(torch.from_numpy(random(6, INPUTS, seed=1)).to(DEVICE), stack)
    out = torch.empty(6, OUTPUTS, dtype=torch.bfloat16, device=DEVICE)
    plain = analog_product(codes, stack, out=out.float())
    every = torch.from_numpy(random(6, OUTPUTS, seed=2)).to(DEVICE)
    actual = analog_product(codes, stack, out=out.clone(), plus=Addend(every))
    torch.testing.assert_close(actual, (plain + every).bfloat16(), rtol=0, atol=0)
    places = torch.full((OUTPUTS,), -1, dtype=torch.int32, device=DEVICE)
    places[[3, 20]] = torch.tensor([1, 0], dtype=torch.int32, device=DEVICE)
    actual = analog_product(codes, stack, out=out.clone(), plus=Addend(every[:, :2].contiguous(), places))
    plain[:, 3] += every[:, 1]
    plain[:, 20] += every[:, 0]
    torch.testing.assert_close(actual, plain.bfloat16(), rtol=0, atol=0)


def test_gate_and_up_with_their_activation() -> None:
    crossbar = crossbar_of(PROFILE, "noisy")
    stack = place(random(GROUPS, OUTPUTS, INPUTS), crossbar)
    x = torch.from_numpy(random(20, INPUTS, seed=1)).to(DEVICE)
    chosen = torch.arange(20, device=DEVICE)[:, None] % GROUPS
    rows = sort_rows(chosen, GROUPS, 16)
    codes = dac.convert(x, stack, rows, gather=True)
    gate, up = analog_product(codes, stack, rows, out=torch.empty(20, OUTPUTS, device=DEVICE)).chunk(2, -1)
    fused = analog_product(codes, stack, rows, out=torch.empty(20, OUTPUTS // 2, device=DEVICE), fused=True)
    torch.testing.assert_close(fused, torch.nn.functional.silu(gate) * up, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("turned", [False, True])
def test_digital_experts_follow_analog_ones(turned: bool, dtype: str) -> None:
    """Groups behind the analog ones are the model's own weights, whichever way they lie."""
    kind = getattr(torch, dtype)
    w = torch.from_numpy(random(5, OUTPUTS, INPUTS)).to(DEVICE, kind)
    values = w.mT.contiguous().mT if turned else w
    bias = torch.from_numpy(random(5, OUTPUTS, seed=3)).to(DEVICE, kind)
    x = torch.from_numpy(random(20, INPUTS, seed=1)).to(DEVICE, kind)
    chosen = torch.arange(40, device=DEVICE).reshape(20, 2) % 4
    rows = sort_rows(chosen, 4, 16)
    members = torch.tensor([4, 1], dtype=torch.int32, device=DEVICE)
    out = torch.full((40, OUTPUTS), 77.0, dtype=kind, device=DEVICE)
    digital_product(
        x, Weights(values, members, bias), rows, out=out, first_group=2, gather=True, scatter=True
    )
    assert (out[chosen.flatten() < 2] == 77).all()
    for group, member in ((2, 4), (3, 1)):
        token, choice = torch.nonzero(chosen == group, as_tuple=True)
        expected = x[token].float() @ w[member].float().T + bias[member].float()
        tolerance = {"float32": 1e-5, "bfloat16": 1e-2}[dtype]
        torch.testing.assert_close(out[token * 2 + choice].float(), expected, rtol=tolerance, atol=tolerance)


def test_digital_gate_and_up_with_their_activation() -> None:
    w = torch.from_numpy(random(2, OUTPUTS, INPUTS)).to(DEVICE)
    x = torch.from_numpy(random(7, INPUTS, seed=1)).to(DEVICE)
    rows = sort_rows(torch.ones(7, 1, dtype=torch.int64, device=DEVICE), 2, 16)
    out = torch.empty(7, OUTPUTS // 2, device=DEVICE)
    digital_product(x, Weights(w), rows, out=out, gather=True, fused=True)
    gate, up = (x @ w[1].T).chunk(2, -1)
    torch.testing.assert_close(out, torch.nn.functional.silu(gate) * up, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("groups", [1, 3, 64])
@pytest.mark.parametrize("tokens", [1, 5, 70])
def test_blocks_hold_every_row_once(tokens: int, groups: int) -> None:
    chosen = torch.randint(groups, (tokens, 2), generator=torch.Generator().manual_seed(1)).to(DEVICE)
    rows = sort_rows(chosen, groups, 16)
    keys = chosen.flatten().cpu()
    assert torch.equal(rows.ends.cpu(), torch.bincount(keys, minlength=groups).cumsum(0).int())
    seen = torch.zeros(len(keys), dtype=torch.int64)
    for group, start in zip(rows.block_group.tolist(), rows.block_start.tolist(), strict=True):
        if group < groups:
            end = min(start + 16, int(rows.ends[group]))
            assert end > start
            assert (keys[rows.order.cpu()[start:end]] == group).all()
            seen[start:end] += 1
    assert (seen == 1).all()


def test_choices_are_added_up() -> None:
    y = torch.from_numpy(random(14, 33)).to(DEVICE)
    weights = torch.from_numpy(random(7, 2, seed=1)).to(DEVICE)
    expected = (y.reshape(7, 2, 33) * weights[..., None]).sum(1)
    torch.testing.assert_close(combine(y, weights), expected, rtol=1e-5, atol=1e-6)


def test_blocks_follow_the_average() -> None:
    assert [block_rows(rows, 64) for rows in (8, 64 * 17, 64 * 64, 64 * 512)] == [16, 32, 64, 128]
