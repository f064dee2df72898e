"""Float32 arithmetic that Triton's kernels share: rounding, logarithm, normal draws, noise curves.

Triton's own logarithm and cosine are fast and rough on a GPU (the logarithm of a number close to 1 has no
digit right); these are right to the last bits, and the same in the interpreter.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["INTERPRETED", "curve", "narrow", "normals", "rint", "slice_bounds"]

INTERPRETED: bool = triton.knobs.runtime.interpret
"""Whether kernels run in Triton's interpreter, without a GPU."""


@triton.jit
def rint(x):
    """Half to even, for values below 2^24 in magnitude; needs a launch without fused multiply-adds."""
    magnitude = tl.abs(x)
    rounded = tl.where(magnitude < 8388608.0, (magnitude + 8388608.0) - 8388608.0, magnitude)
    return tl.where(x < 0, -rounded, rounded)


@triton.jit
def narrow(x, kind: tl.constexpr):
    """Float32 numbers as another type, bfloat16 half to even: Triton's interpreter would cut them off."""
    if kind == tl.bfloat16:
        bits = x.to(tl.int32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & -65536
        x = tl.where(x == x, bits.to(tl.float32, bitcast=True), x)
    return x.to(kind)


@triton.jit
def slice_bounds(index, inputs, slices):
    """First input and number of inputs of a K-slice."""
    base = inputs // slices
    extra = inputs % slices
    return index * base + tl.minimum(index, extra), base + (index < extra).to(tl.int32)


@triton.jit
def logarithm(x):
    """Natural logarithm of positive normal numbers, as in Cephes' logf."""
    bits = x.to(tl.int32, bitcast=True) - 0x3F3504F3
    exponent = (bits >> 23).to(tl.float32)
    f = ((bits & 0x007FFFFF) + 0x3F3504F3).to(tl.float32, bitcast=True) - 1.0
    z = f * f
    y = f * 7.0376836292e-2 - 1.1514610310e-1
    y = y * f + 1.1676998740e-1
    y = y * f - 1.2420140846e-1
    y = y * f + 1.4249322787e-1
    y = y * f - 1.6668057665e-1
    y = y * f + 2.0000714765e-1
    y = y * f - 2.4999993993e-1
    y = y * f + 3.3333331174e-1
    y = y * f * z - exponent * 2.12194440e-4 - 0.5 * z
    return f + y + exponent * 0.693359375


@triton.jit
def normals(first, second):
    """Two standard normals from two random words (Box and Muller 1958)."""
    u1 = ((first >> 8) + 1).to(tl.float32) * 5.9604644775390625e-08
    quarters = (second >> 8).to(tl.float32) * 2.384185791015625e-07
    quadrant = (quarters + 0.5).to(tl.int32)
    angle = (quarters - quadrant.to(tl.float32)) * 1.5707963267948966
    z = angle * angle
    sine = ((z * -1.9515295891e-4 + 8.3321608736e-3) * z - 1.6666654611e-1) * z * angle + angle
    cosine = ((z * 2.443315711809948e-5 - 1.388731625493765e-3) * z + 4.166664568298827e-2) * z * z - 0.5 * z
    cosine = cosine + 1.0
    odd = (quadrant & 1) == 1
    c = tl.where(odd, sine, cosine)
    s = tl.where(odd, cosine, sine)
    c = tl.where(((quadrant + 1) & 2) == 2, -c, c)
    s = tl.where((quadrant & 2) == 2, -s, s)
    radius = tl.sqrt_rn(-2.0 * logarithm(u1))
    return radius * c, radius * s


@triton.jit
def curve(r, table, pieces: tl.constexpr):
    """A curve of the device model at r, as `docs/operators.md` defines it; `table` has 10 numbers a piece."""
    r = tl.maximum(r, 1e-7)
    ln = logarithm(r)
    total = tl.zeros_like(r)
    for index in tl.static_range(pieces):
        piece = table + 10 * index
        value = tl.zeros_like(r) + tl.load(piece + 9)
        value = value * r + tl.load(piece + 8)
        value = value * r + tl.load(piece + 7)
        value = value * r + tl.load(piece + 6)
        value = value + tl.load(piece + 3) * ln + tl.load(piece + 4) * tl.exp(tl.load(piece + 5) * ln)
        value = tl.minimum(tl.maximum(value, tl.load(piece + 1)), tl.load(piece + 2))
        if index == 0:
            total = value
        else:
            total = tl.where(r >= tl.load(piece), value, total)
    return total
