"""Work in a child: its result, its failures, and that it holds nothing of the service open."""

from __future__ import annotations

import errno
import os
import signal
import time

import pytest

from guest_service import helper
from guest_service.helper import Failed


def _raise(error: Exception) -> object:
    raise error


def test_the_result_comes_back() -> None:
    big = ["x" * 100] * 10_000
    assert helper.run(lambda: {"big": big, "pid": os.getpid()}, 20) != {"pid": os.getpid()}
    assert helper.run(lambda: big, 20) == big


def test_failures_come_back() -> None:
    with pytest.raises(Failed) as raised:
        helper.run(lambda: _raise(Failed("code", number=5)), 20)
    assert (raised.value.code, raised.value.fields) == ("code", {"number": 5})
    with pytest.raises(Failed) as raised:
        helper.run(lambda: _raise(OSError(errno.ENOSPC, "full")), 20)
    assert (raised.value.code, raised.value.fields) == ("system", {"errno": errno.ENOSPC})
    with pytest.raises(Failed) as raised:
        helper.run(lambda: os._exit(0), 20)
    assert raised.value.code == "died"


def test_one_that_takes_too_long_is_ended() -> None:
    source, sink = os.pipe()
    started = time.monotonic()
    with pytest.raises(Failed) as raised:
        helper.run(lambda: time.sleep(1000), 0.3)
    assert raised.value.code == "late" and time.monotonic() - started < 10
    # It had no copy of this end, or the end would not be seen.
    os.close(sink)
    assert os.read(source, 1) == b""
    os.close(source)


def test_one_that_cannot_be_killed_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # As in the kernel, where it waits for a file system that does not answer.
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda *_: None)
    monkeypatch.setattr(helper, "_END", 0.2)
    started = time.monotonic()
    with pytest.raises(Failed) as raised:
        helper.run(lambda: time.sleep(3), 0.2)
    assert raised.value.code == "late" and time.monotonic() - started < 2
    os.wait()


def test_it_has_no_descriptor_of_the_service() -> None:
    opened = os.open("/dev/null", os.O_RDONLY)
    with pytest.raises(Failed) as raised:
        helper.run(lambda: os.fstat(opened).st_ino, 20)
    os.close(opened)
    assert raised.value.fields == {"errno": errno.EBADF}
