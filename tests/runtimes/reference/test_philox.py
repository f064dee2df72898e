"""Philox against the known-answer vectors of Random123 (kat_vectors, philox4x32 with 10 rounds)."""

from __future__ import annotations

import numpy as np
import pytest

from hetc.runtimes.reference import philox

ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_known_answers(
    counter: tuple[int, int, int, int], key: tuple[int, int], expected: tuple[int, ...]
) -> None:
    assert philox(counter, key) == expected


def test_arrays_broadcast_to_the_words_of_their_elements() -> None:
    words = philox((np.arange(3)[None, :], np.arange(2)[:, None], 5, 0), (7, 9))
    assert [word.shape for word in words] == [(2, 3)] * 4
    assert tuple(word[1, 2] for word in words) == philox((2, 1, 5, 0), (7, 9))
