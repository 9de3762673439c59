"""The markers that programs/wanderer.c leaves in memory: made from seeds, and found again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["BYTES", "FOUND", "find"]

BYTES = 8
"""Of one word of a marker; each of them alone names its writer."""
FOUND = np.dtype([("gpa", "i8"), ("program", "i4"), ("side", "i4"), ("number", "i4")])

_TAG = bytes.fromhex("5bc3a7")
_PAGE = 4096
_WORDS = 4
_SIDES = 3
_NUMBERS = 128
_CHUNK = 1 << 24


def _mixed(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ z >> np.uint64(31))


def _table(seeds: Sequence[int]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.void]]:
    """Every word that the programs may write, sorted, and whose it is."""
    program, side, number, word = (
        axis.ravel()
        for axis in np.meshgrid(
            np.arange(len(seeds)), range(_SIDES), range(_NUMBERS), range(_WORDS), indexing="ij"
        )
    )
    writer = np.asarray(seeds, np.uint64)[program] << np.uint64(16)
    writer |= (side << 12 | number << 4 | word).astype(np.uint64)
    words = _mixed(writer) & ~np.uint64(0xFFFFFF) | np.uint64(int.from_bytes(_TAG, "little"))
    order = np.argsort(words)
    whose = np.zeros(len(words), FOUND)
    whose["program"], whose["side"], whose["number"] = program, side, number
    return words[order], whose[order]


def _candidates(ram: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Where the three bytes stand that all words begin with."""
    found = []
    end = len(ram) - BYTES + 1
    for start in range(0, end, _CHUNK):
        part = ram[start : min(start + _CHUNK, end)]
        at = np.flatnonzero(part == _TAG[0]) + start
        found.append(at[(ram[at + 1] == _TAG[1]) & (ram[at + 2] == _TAG[2])])
    return np.concatenate(found)


def find(ram: npt.NDArray[np.uint8], seeds: Sequence[int]) -> npt.NDArray[np.void]:
    """Every word of a marker in memory: FOUND, `program` being an index into the seeds.

    But for those that the end of a page cuts: what stands beside it in memory may be anybody's.
    """
    words, whose = _table(seeds)
    at = _candidates(ram)
    at = at[at % _PAGE <= _PAGE - BYTES]
    values = ram[at[:, None] + np.arange(BYTES)].view("<u8").ravel()
    place = np.minimum(np.searchsorted(words, values), len(words) - 1)
    real = words[place] == values
    found: npt.NDArray[np.void] = whose[place[real]]
    found["gpa"] = at[real]
    return found
