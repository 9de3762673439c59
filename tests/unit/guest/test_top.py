"""`sparc top` in a guest, on a real terminal too, with a service on a device that is none."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from guest.bench import Bench
from guest.terminal import Terminal

from guest_service import client
from guest_service.device import Counted
from sparc.cli import top_guest
from sparc.cli.main import main
from sparc.frame import Frame, Table, text
from sparc.wire import MEMORY_ONLY, Kind, Reason

_EVIL = "ev\x1b[2Jil\x07"
_KINDS = {Kind.ANON: (512, 0), Kind.TTY: (0, 13312), Kind.FREE: (1 << 18, 0)}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """One whose service all commands ask."""
    bench = Bench(tmp_path)
    bench.device.counted = Counted(_KINDS, 31_000_000)
    monkeypatch.setattr(client.ask, "__defaults__", (bench.path, ()))
    monkeypatch.setattr(client, "here", lambda: True)
    yield bench
    bench.close()


@pytest.fixture
def victim(bench: Bench) -> Iterator[subprocess.Popen[bytes]]:
    """An excluded process with 32 MB, a pipe, a socket and a file, and no terminal."""
    code = (
        "import os, socket, sys, time\n"
        "held = bytearray(b'x') * (32 << 20), os.pipe(), socket.socket(), open('/etc/passwd')\n"
        "print(flush=True)\n"
        "time.sleep(1000)\n"
    )
    null = subprocess.DEVNULL
    victim = subprocess.Popen(
        [sys.executable, "-c", code], stdin=null, stdout=subprocess.PIPE, stderr=null
    )
    assert victim.stdout and victim.stdout.readline()
    bench.ask("exclude", pids=[victim.pid])
    yield victim
    victim.kill()
    victim.communicate()


def said(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """One frame; there is no terminal here."""
    with pytest.raises(SystemExit) as end:
        main(["top", *options])
    out, err = capsys.readouterr()
    assert not end.value.code and not err
    return out


def test_what_each_has_and_what_would_be_kept_out_by_kind(
    victim: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    out = said(capsys)
    assert re.search(r"memory of the programs +2 MiB +0 B +2 MiB", out)
    assert re.search(r"terminals +0 B +13 KiB +13 KiB", out)
    assert re.search(r"counted 0 s ago, in 31.0 ms", out)
    # Standard output is a pipe, too.
    row = next(line for line in out.splitlines() if line.strip().startswith(str(victim.pid)))
    assert re.search(r" name +3\d(\.\d)? MiB +0 B +0 B +1 +3 +1 +0$", row)
    assert out == said(capsys, "--once")


def test_for_programs(victim: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]) -> None:
    data = json.loads(said(capsys, "--json"))
    assert data["side"] == "guest" and data["status"]["members"] == 1
    assert data["count"]["kinds"]["tty"] == {"pages": 0, "bytes": 13312}
    (entry,) = data["processes"]
    assert entry["pid"] == victim.pid and 32 << 20 <= entry["memory_bytes"] < 60 << 20
    assert entry["open"] == {"files": 1, "pipes": 3, "sockets": 1, "terminals": 0}


def test_nobody_is_excluded(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys)
    assert "Excluded    0 processes" in out and "MEMORY" not in out and "KIND" not in out
    assert "collect" not in bench.device.log


def test_the_largest_comes_first(
    victim: subprocess.Popen[bytes], bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    with subprocess.Popen(["sleep", "1000"]) as small:
        bench.ask("exclude", pids=[small.pid])
        pids = [entry["pid"] for entry in json.loads(said(capsys, "--json"))["processes"]]
        small.kill()
    assert pids == [victim.pid, small.pid]


def test_what_is_open_is_not_kept_out_with_memory_only(
    victim: subprocess.Popen[bytes], bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.device.flags = MEMORY_ONLY
    assert re.search(r" - +- +- +-  memory-only\n", said(capsys))


def test_what_may_not_be_seen(tmp_path: Path) -> None:
    assert top_guest._held(tmp_path / "no") is None
    assert set(top_guest._memory(tmp_path / "no").values()) == {None}
    entry = {"pid": 1, "user": None, "name": "x", "open": None, "exiting": False}
    entry |= dict.fromkeys(("memory_bytes", "swap_bytes", "shared_bytes"), None)
    row = top_guest._row({**entry, "memory_only": False, "display": True})
    assert row == ("1", "", "x", *"???????", "display")


def test_a_name_is_no_number(tmp_path: Path) -> None:
    path = tmp_path / "status"
    path.write_bytes(b"Name:\tx\rRssAnon: 9 kB\nRssAnon:\t 4 kB\nVmSwap:\t 8 kB\n")
    found = {"memory_bytes": 4096, "swap_bytes": 8192, "shared_bytes": None}
    assert top_guest._memory(path) == found


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("/home/a/file", "files"),
        ("/home/a/file (deleted)", "files"),
        ("/memfd:x (deleted)", "files"),
        ("/dev/shm/x", "files"),
        ("/dev/null", ""),
        ("/dev/pts/3", "terminals"),
        ("/dev/tty1", "terminals"),
        ("pipe:[77]", "pipes"),
        ("socket:[78]", "sockets"),
        ("anon_inode:[eventpoll]", ""),
    ],
)
def test_what_a_descriptor_is_of(target: str, kind: str) -> None:
    assert top_guest._kind(target) == kind


def test_a_count_that_cannot_be_had(
    victim: subprocess.Popen[bytes],
    bench: Bench,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench.device.counted = Counted(_KINDS, 5, Reason.BUSY, 77)
    out = said(capsys)
    assert "could not be counted: memory stayed in motion (process 77)" in out
    assert "free memory" not in out and str(victim.pid) in out
    # An older service.
    ask = client.ask

    def older(request: dict[str, object]) -> dict[str, object]:
        return ask({"command": "x"} if request["command"] == "count" else request)

    monkeypatch.setattr(top_guest, "ask", older)
    out = said(capsys)
    assert "is older and cannot tell" in out and str(victim.pid) in out


def test_without_a_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(client, "here", lambda: True)
    monkeypatch.setattr(client.ask, "__defaults__", (str(tmp_path / "none"), ()))
    for options in ([], ["--json"], ["--once"]):
        with pytest.raises(SystemExit) as end:
            main(["top", *options])
        assert end.value.code == 2


def test_words_of_others_steer_nothing() -> None:
    table = Table(_EVIL, ("A",), [(_EVIL,)])
    shown = text(Frame([_EVIL], [table], {}, [_EVIL]))
    assert all(line.isprintable() for line in shown.splitlines())
    assert shown.count(r"ev\x1b[2Jil\x07") == 4


def test_it_starts_no_slower_for_what_only_it_needs() -> None:
    code = "import sys; import sparc.cli.top, sparc.cli.list; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "sparc.cli.top" in loaded and not {"rich", "termios", "sparc.cli.live"} & set(loaded)


# -- on a terminal


Show = Callable[..., Terminal]


@pytest.fixture
def show(bench: Bench) -> Iterator[Show]:
    shown: list[Terminal] = []

    def start(*options: str, before: str = "", rows: int = 24) -> Terminal:
        before = f"client.here = lambda: True\n{before}"
        argv = ["top", *options]
        shown.append(Terminal(bench, argv, before=before, rows=rows, TERM="xterm"))
        return shown[-1]

    yield start
    for terminal in shown:
        terminal.close()


_ALTERNATE, _BACK, _CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"


@pytest.mark.parametrize("end", ["q", "\x03", signal.SIGTERM])
def test_it_leaves_the_terminal_as_it_was(
    victim: subprocess.Popen[bytes], show: Show, end: str | signal.Signals
) -> None:
    terminal = show("--interval", "0.2")
    terminal.until(re.escape(_ALTERNATE))
    terminal.until(str(victim.pid))
    terminal.until(str(victim.pid))
    assert not terminal.echoes()
    if isinstance(end, str):
        terminal.type(end)
    else:
        os.kill(terminal.pid, end)
    ended = terminal.ended()
    if isinstance(end, str):
        assert os.waitstatus_to_exitcode(ended) == 0
    else:
        assert os.WTERMSIG(ended) == end
    assert _CURSOR in terminal.seen and terminal.seen.rindex(_BACK) > terminal.seen.find(_ALTERNATE)
    assert "Traceback" not in terminal.seen and "interrupted" not in terminal.seen


def test_it_is_as_it_was_when_it_is_over(show: Show, tmp_path: Path) -> None:
    # Of a terminal that nobody has any more nothing can be asked.
    note = tmp_path / "after"
    before = (
        "import atexit, pathlib, termios\n"
        "was = termios.tcgetattr(0)\n"
        f"note = pathlib.Path({str(note)!r})\n"
        "atexit.register(lambda: note.write_text(str(termios.tcgetattr(0) == was)))"
    )
    terminal = show("--interval", "0.2", before=before)
    terminal.until("Excluded")
    terminal.type("q")
    assert terminal.status() == 0 and note.read_text() == "True"


def test_it_is_live(bench: Bench, victim: subprocess.Popen[bytes], show: Show) -> None:
    terminal = show("--interval", "0.2")
    terminal.until("1 process")
    bench.device.excluded[os.getpid()] = b"another"
    terminal.until("2 processes")
    Path(bench.path).unlink()
    # What was there stays to be seen, and why there is nothing new.
    terminal.until(r"\d\d:\d\d:\d\d: .*(not loaded|not running)")
    terminal.until(str(victim.pid))
    terminal.type("q")
    assert terminal.status() == 0


def test_stopped_and_gone_on(victim: subprocess.Popen[bytes], show: Show) -> None:
    terminal = show("--interval", "60")
    terminal.until(str(victim.pid))
    terminal.type("\x1a")
    _, stopped = os.waitpid(terminal.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(stopped) and terminal.echoes()
    terminal.until(re.escape(_BACK))
    os.kill(terminal.pid, signal.SIGCONT)
    terminal.until(re.escape(_ALTERNATE))
    terminal.until(str(victim.pid))
    terminal.type("q")
    assert terminal.status() == 0


def test_another_size_is_seen_at_once(victim: subprocess.Popen[bytes], show: Show) -> None:
    terminal = show("--interval", "60")
    terminal.until(str(victim.pid))
    fcntl.ioctl(terminal.fd, termios.TIOCSWINSZ, struct.pack("4H", 30, 90, 0, 0))
    terminal.until(str(victim.pid))
    terminal.type("q")
    assert terminal.status() == 0


def test_more_than_the_terminal_has_room_for(bench: Bench, show: Show) -> None:
    bench.device.excluded |= dict.fromkeys(range(1 << 23, (1 << 23) + 40), b"many")
    terminal = show("--interval", "60", rows=24)
    # Five lines, three kinds and two tables' heads leave ten, one of them for this.
    terminal.until(r"\.\.\. 31 more")
    terminal.type("q")
    assert terminal.status() == 0


@pytest.mark.parametrize("options", [("--once",), ("--json",)])
def test_once_ends_by_itself_on_a_terminal(show: Show, options: tuple[str, ...]) -> None:
    terminal = show(*options)
    assert terminal.status() == 0 and _ALTERNATE not in terminal.seen and terminal.seen


def test_where_there_is_no_rich(show: Show) -> None:
    terminal = show(before="sys.modules['rich'] = sys.modules['rich.console'] = None")
    assert terminal.status() == 0
    assert "Excluded" in terminal.seen and "it needs rich" in terminal.seen


def test_intervals(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    for interval in ("0", "-1", "nan", "1e9", "x"):
        with pytest.raises(SystemExit) as end:
            main(["top", "--interval", interval])
        assert end.value.code == 2 and "--interval" in capsys.readouterr().err
    said(capsys, "--interval", "0.2")


def test_a_vm_that_is_named_is_virtualboxs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from host_service import virtualbox
    from host_service.errors import HostError

    def find(vm: str) -> Any:
        raise HostError("there is no such VM", vm)

    monkeypatch.setattr(virtualbox, "find", find)
    with pytest.raises(SystemExit) as end:
        main(["top", "victim"])
    assert end.value.code == 2 and "victim: there is no such VM" in capsys.readouterr().err


def test_where_there_is_little_room_a_verdict_is_cut() -> None:
    from rich.console import Console

    from sparc.cli.live import _grid

    row = ("victim", "before the upgrade", "NOT CLEAN: " + "why " * 40)
    table = Table("", ("VM", "CHECKPOINT", "VERDICT"), [row], verdict=2)
    console = Console(width=60)
    with console.capture() as shown:
        console.print(_grid(table, 1, 60))
    line = shown.get().splitlines()[1]
    assert line.startswith("victim  before the upgrade  NOT CLEAN: why") and len(line) <= 60


def test_only_a_verdict_has_a_colour() -> None:
    from sparc.cli.live import _cell

    table = Table("", ("VM", "VERDICT"), [], verdict=1)
    told = ["clean", "clean; kept out: x", "NOT CLEAN: clean", "no memory"]
    assert [_cell(table, 1, cell, 99).style for cell in told] == ["green", "green", "red", ""]
    assert {_cell(table, 0, cell, 9).style for cell in told} == {""}
    assert _cell(table, 0, _EVIL, 9).plain.isprintable()
    assert _cell(table, 0, "[red]x[/]", 9).plain == "[red]x[/]"
