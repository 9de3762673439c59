"""Swap, as far as it can be tried without any: tables, records, and what is written where."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import cast

import pytest
from guest.bench import Bench
from guest.fakes import FakeDevice, FakeFreezer

from guest_service import helper, swap, swap_areas
from guest_service.changes import Caller
from guest_service.checkpoint import Checkpoints
from guest_service.device import Device, Taken
from guest_service.freezer import Freezer
from guest_service.helper import Failed
from guest_service.history import History
from guest_service.log import Log
from guest_service.swap import Swap
from guest_service.swap_table import Area, areas
from sparc.wire import Reason

_TABLE = """\
Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority
/dev/sda2                               partition\t1000\t\t10\t\t-2
/my\\040swap\\134file                      file\t\t2000\t\t20\t\t5
"""


class _Swap(Swap):
    """One with something in it, or not; with room for it, or not."""

    def __init__(self, log: list[str]) -> None:
        super().__init__(os.devnull)
        self._log = log
        self.full = True
        self.trouble: Failed | None = None

    def needs_clearing(self) -> bool:
        return self.full

    def take_off(self, seconds: float) -> None:
        self._log.append("take off")
        if self.trouble:
            raise self.trouble
        self.full = False

    def put_on(self) -> None:
        self._log.append("put on")


def test_the_table_is_read_by_priority(tmp_path: Path) -> None:
    table = tmp_path / "swaps"
    table.write_text(_TABLE)
    assert [(area.path, area.used, area.priority) for area in areas(str(table))] == [
        ("/my swap\\file", 20, 5),
        ("/dev/sda2", 10, -2),
    ]
    assert areas(str(tmp_path / "none")) == []


def test_too_little_memory_is_told_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swap, "areas", lambda: [Area("/none", 1 << 40, 0)])
    with pytest.raises(Failed) as raised:
        Swap(str(tmp_path / "record")).take_off(1)
    assert raised.value.code == "swap-room" and raised.value.fields["need"] == 1 << 40
    assert not (tmp_path / "record").exists()


def test_what_is_off_is_on_record_until_it_is_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "record"
    area = Area("/the area", 0, 7)
    monkeypatch.setattr(swap, "areas", lambda: [area])
    seen = []

    def killed(work: object, seconds: float) -> object:
        seen.append(record.read_text())
        raise KeyboardInterrupt

    monkeypatch.setattr(helper, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        Swap(str(record)).take_off(1)
    assert seen == ['{"off":[["/the area",7]]}\n']
    # The next instance puts on what is not on by now.
    following = Swap(str(record))
    following.recover()
    assert record.read_text() == '{"off":[]}\n'
    record.write_text(seen[0])
    monkeypatch.setattr(swap, "areas", list)
    ran: list[object] = []
    monkeypatch.setattr(helper, "run", lambda work, seconds: ran.append(work))
    following.recover()
    assert len(ran) == 1 and record.read_text() == '{"off":[]}\n'


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"off": 5}', '{"off": [5]}', '{"off":[["a"]]}']
)
def test_a_record_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    record = tmp_path / "record"
    record.write_text(content)
    Swap(str(record)).recover()


def test_everything_behind_the_header_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "area"
    header = bytearray(4096)
    header[1024:1032] = struct.pack("<II", 1, 511)
    header[-10:] = b"SWAPSPACE2"
    path.write_bytes(header + b"secret" * 350_000)
    fd = os.open(path, os.O_RDWR)
    swap_areas._overwrite(Area(str(path), 0, 0), fd)
    content = path.read_bytes()
    assert content[:4096] == header
    whole = len(content) // 4096 * 4096
    assert not any(content[4096:whole]) and len(content) == 4096 + 2_100_000
    os.pwrite(fd, b"something else", 4080)
    os.pwrite(fd, b"data", 5000)
    with pytest.raises(Failed) as raised:
        swap_areas._overwrite(Area(str(path), 0, 0), fd)
    assert raised.value.code == "swap-area" and os.pread(fd, 4, 5000) == b"data"
    os.close(fd)


def test_discards_are_as_the_table_says(tmp_path: Path) -> None:
    table = tmp_path / "fstab"
    table.write_text(
        "# comment\n/a none swap sw 0 0\n/b none swap sw,discard=pages 0 0\n"
        "UUID=4711 none swap discard 0 0\n/c / ext4 discard 0 1\n"
    )
    told = [swap_areas.discards(path, str(table)) for path in ("/a", "/b", "/c")]
    assert told == [0, 0x50000, 0]
    assert swap_areas.discards("/dev/disk/by-uuid/4711", str(table)) == 0x10000
    assert swap_areas.discards("/a", str(tmp_path / "none")) == 0


def test_an_exclusion_is_undone_where_swap_cannot_be_emptied(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    try:
        emptied = _Swap(bench.device.log)
        bench.commands._swap = emptied
        bench.device.taken = Taken(1, 0, 5, 0)
        emptied.trouble = Failed("swap-room", need=2, free=1)
        process = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
        reply = bench.commands.run({"command": "exclude", "pids": [process]}, _root())
        assert reply == {"error": "swap-room", "need": 2, "free": 1}
        assert bench.device.excluded == {}
        # Where nothing is in swap now it can wait.
        bench.device.taken = Taken(1, 0, 0, 0)
        reply = bench.commands.run({"command": "exclude", "pids": [process]}, _root())
        assert reply["swap"] == {"error": "swap-room", "need": 2, "free": 1}
        assert list(bench.device.excluded) == [process]
        emptied.trouble = None
        bench.device.log.clear()
        reply = bench.commands.run({"command": "exclude", "pids": [process]}, _root())
        assert reply["swap"] is None
        assert bench.device.log == [f"exclude {process}", "take off", "put on"]
        os.kill(process, 9)
        os.waitpid(process, 0)
    finally:
        bench.close()


@pytest.mark.parametrize("trouble", [None, Failed("swap-late")])
def test_there_is_no_swap_while_a_checkpoint_is_taken(
    tmp_path: Path, trouble: Failed | None
) -> None:
    device = FakeDevice()
    emptied = _Swap(device.log)
    emptied.trouble = trouble
    history = History(str(tmp_path / "history"))
    freezer = cast(Freezer, FakeFreezer(device.log))
    checkpoints = Checkpoints(cast(Device, device), freezer, history, Log(), 2.0, emptied)
    checkpoints.prepare(1)
    assert "take off" not in device.log  # nobody is excluded
    device.log.clear()
    device.excluded[5] = b""
    checkpoints.prepare(2)
    middle = ["fail 2 SWAP 0"] if trouble else ["freeze 2", "park 2"]
    assert device.log == ["take off", *middle, "thaw", "thawed", "put on"]
    assert history.checkpoint
    assert (history.checkpoint["reason"] == Reason.SWAP.name.lower()) is bool(trouble)
    device.close()


def _root() -> Caller:
    return Caller(os.getpid(), 0)
