"""Asking the pack in a VM's process, over a real socket: what it may answer, and what not."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from host.reporting import UUID, good_report, good_status

from host_service import run_dir, vm_socket
from host_service.errors import HostError
from host_service.run_dir import usable_run_dir
from host_service.vm_socket import ask

Answer = Callable[[socket.socket], None]


@pytest.fixture
def base() -> Iterator[Path]:
    """Stands for /run; pytest's own folders have names too long for sockets."""
    with tempfile.TemporaryDirectory(prefix="sparc") as folder:
        if os.geteuid():
            Path(folder, "user", str(os.geteuid())).mkdir(parents=True)
        usable_run_dir(make=True, base=Path(folder))
        yield Path(folder)


@pytest.fixture
def pack(base: Path) -> Iterator[Callable[[Answer], None]]:
    """Lets somebody answer, once, where the pack of the VM would."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(run_dir.vm_socket(usable_run_dir(base=base), UUID)))
    listener.listen()
    threads = []

    def start(answer: Answer) -> None:
        def serve() -> None:
            link, _ = listener.accept()
            with link:
                answer(link)

        threads.append(threading.Thread(target=serve, daemon=True))
        threads[-1].start()

    yield start
    listener.close()
    for thread in threads:
        thread.join(timeout=5)


def says(data: object) -> Answer:
    return lambda link: link.sendall(json.dumps(data).encode() + b"\n")


def test_an_answer(base: Path, pack: Callable[[Answer], None]) -> None:
    pack(says(good_status(last=good_report())))
    status = ask(UUID, base)
    assert status is not None
    assert (status.module, status.armed, status.members, status.policy) == (True, True, 2, "strict")
    assert status.last is not None and status.last.clean


def test_without_a_module(base: Path, pack: Callable[[Answer], None]) -> None:
    pack(says(good_status(module=False, abi=None, armed=False, members=0)))
    status = ask(UUID, base)
    assert status is not None and not status.module and status.abi is None


def test_nobody_there(base: Path) -> None:
    assert ask(UUID, base) is None
    # What a process that was killed leaves behind.
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    left.bind(str(run_dir.vm_socket(usable_run_dir(base=base), UUID)))
    left.close()
    assert ask(UUID, base) is None


def test_no_run_directory(tmp_path: Path) -> None:
    assert ask(UUID, tmp_path) is None


@pytest.mark.parametrize(
    "answer",
    [
        lambda link: None,
        lambda link: link.sendall(b"\n"),
        lambda link: link.sendall(json.dumps(good_status()).encode()[:-9]),
        lambda link: link.sendall(b"\xff" * 100),
        says([]),
        says(good_status(version=2)),
        says(good_status(module="yes")),
        says(good_status(policy="none")),
        says(good_status(members=-1)),
        says(good_status(last={})),
        says(good_status(last=good_report(clean=1))),
        says(good_status(vm={"name": "victim", "uuid": "another"})),
    ],
    ids=range(12),
)
def test_no_answer_that_can_be_believed(
    base: Path, pack: Callable[[Answer], None], answer: Answer
) -> None:
    pack(answer)
    with pytest.raises(HostError) as caught:
        ask(UUID, base)
    assert "extension pack" in caught.value.cause


def test_an_endless_answer(base: Path, pack: Callable[[Answer], None]) -> None:
    def endless(link: socket.socket) -> None:
        try:
            while True:
                link.sendall(b" " * 65536)
        except OSError:
            pass

    pack(endless)
    with pytest.raises(HostError, match="too long"):
        ask(UUID, base)


def test_an_answer_that_does_not_come(
    base: Path, pack: Callable[[Answer], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vm_socket, "_SECONDS", 0.5)

    def slow(link: socket.socket) -> None:
        try:
            while True:
                link.sendall(b" ")
                time.sleep(0.05)
        except OSError:
            pass

    pack(slow)
    began = time.monotonic()
    with pytest.raises(HostError, match="gives no answer"):
        ask(UUID, base)
    assert time.monotonic() - began < 3


def test_every_field_is_needed(base: Path, pack: Callable[[Answer], None]) -> None:
    for name in good_status():
        data: dict[str, Any] = good_status()
        del data[name]
        pack(says(data))
        with pytest.raises(HostError):
            ask(UUID, base)
