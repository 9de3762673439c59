"""Parts of pages: exactly the buffer is kept out, and nothing that lies beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from sparc_lab import Lab, QemuMachine

from tests.guest.manifest import Manifest
from tests.guest.protected import Protected
from tools.protect import compile_for_guests

_HERE = Path(__file__).parent
_PLACE = np.dtype([("gpa", "<u8"), ("length", "<u4"), ("is_buffer", "<u4")])
_START = """
setsid /root/keeper /root/canary.ko </dev/null >/dev/null 2>/root/keeper.log &
until_true '[ -e /sys/module/canary/parameters/table ]'
sleep 0.5
sparc exclude --name keeper >/dev/null || { cat /root/keeper.log; exit 1; }
cat /sys/module/canary/parameters/table /sys/module/canary/parameters/count
"""


class Keeper(Protected):
    """A guest in which buffers of an excluded process lie among other things."""

    def __init__(self, lab: Lab, machine: QemuMachine, kernel: str) -> None:
        super().__init__(lab, machine, kernel)
        machine.put(lab.build_module(_HERE / "canary", kernel), "/root/canary.ko")
        machine.put(compile_for_guests(lab, _HERE / "programs/keeper.c"), "/root/keeper")
        table, count = (int(word) for word in self.ok(_START).split())
        data = self.host.read(table, count * _PLACE.itemsize)
        self.places = np.frombuffer(data, _PLACE)

    def zeroed(self, longer: int = 0) -> tuple[list[bytes], list[bytes]]:
        """What is in each place, and what is there while the manifest's bytes are zeros.

        Every extent is taken to be that much longer. The guest goes on unharmed.
        """
        with self.parked():
            before = self._all()
            manifest = Manifest.of(self.memory())
            extents = manifest.extents.copy()
            extents["length"] += longer
            kept = [
                (int(e["gpa"]), self.host.read(int(e["gpa"]), int(e["length"]))) for e in extents
            ]
            pages = manifest.drop | manifest.stash
            try:
                for gpa, data in kept:
                    self.host.write(gpa, bytes(len(data)))
                after = self._all()
            finally:
                for gpa, data in reversed(kept):
                    self.host.write(gpa, data)
        return before, [
            self._without(pages, *pair) for pair in zip(self.places, after, strict=True)
        ]

    def _all(self) -> list[bytes]:
        return [self.host.read(int(p["gpa"]), int(p["length"])) for p in self.places]

    @staticmethod
    def _without(pages: npt.NDArray[np.bool_], place: npt.NDArray[np.void], data: bytes) -> bytes:
        """Where whole pages are kept out, zeros."""
        addresses = int(place["gpa"]) + np.arange(len(data))
        return bytes(np.where(pages[addresses // 4096], 0, np.frombuffer(data, np.uint8)))


@pytest.fixture(scope="module")
def keeper(lab: Lab, guest: QemuMachine, kernel: str) -> Iterator[Keeper]:
    keeper = Keeper(lab, guest, kernel)
    yield keeper
    keeper.close()


def _harmed(keeper: Keeper, before: list[bytes], after: list[bytes]) -> list[str]:
    """Where a buffer is not all zeros, or another byte is not what it was."""
    wrong = []
    for place, old, new in zip(keeper.places, before, after, strict=True):
        if place["is_buffer"]:
            assert any(old)
            old = bytes(len(old))
        if old != new:
            wrong.append(f"{place}")
    return wrong


def test_buffers_are_zeroed_and_nothing_beside_them(keeper: Keeper) -> None:
    assert keeper.places["is_buffer"].sum() >= 20
    assert _harmed(keeper, *keeper.zeroed()) == []


def test_one_byte_too_many_would_be_seen(keeper: Keeper) -> None:
    assert len(_harmed(keeper, *keeper.zeroed(longer=1))) >= 10
