"""What the host holds of a guest: screen, disk buffers, key strokes, serial lines."""

from __future__ import annotations

import json
import random
import string
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from sparc_lab.keyboard import strokes
from sparc_lab.processes import wait_for

from sparc.sav.index import Space
from sparc.sav.state import SavedState
from tests.e2e.guarded import Guarded

_BLOCK, _BLOCKS = 4096, 8  # Of the disk, one secret in each; as many are read at once.
_READ = (
    "python3 -c 'import mmap, os; memory = mmap.mmap(-1, "
    f"{_BLOCK * _BLOCKS}); "
    'os.readv(os.open("/root/file", os.O_RDONLY | os.O_DIRECT), [memory]); '
    "os.write(1, memory)'"
)
_TYPED = 6  # The keyboard's queue takes so many strokes for sure.
_TEXT_BYTES = 256 << 10
_STRIDE = 8  # In text mode, a character, its colours, and six bytes of other planes.
_NO_PICTURE = 20  # The unit without one: two blocks that are empty.
_SERIAL_DATA = slice(9, 11)
_TURNS = 6


@pytest.fixture(scope="module")
def secret(guarded: Guarded, tmp_path_factory: pytest.TempPathFactory) -> str:
    """One that is on the disk, on the screen, and has gone over a serial line."""
    secret = "".join(random.choices(string.ascii_lowercase, k=16))
    machine = guarded.machine
    file = tmp_path_factory.mktemp("host") / "file"
    file.write_text(f"{secret}\n".rjust(_BLOCK, ".") * (2 * _BLOCKS))
    machine.put(file, "/root/file")
    # Others that use the disk would drive the secret out of the controller; a cursor blinks.
    guarded.sh(rf"""
        for comm in /proc/[0-9]*/comm; do
            pid=${{comm#/proc/}}
            read -r name < $comm || true
            [ "$name" != survivor ] || kill -STOP ${{pid%/comm}}
        done
        sync
        printf '\033[?25l\033[2J\033[H{secret}\n' > /dev/tty1
        echo {secret} > /dev/ttyS0
    """)
    return secret


def _use(guarded: Guarded, secret: str) -> None:
    """Have the guest read its disk, and type at its keyboard."""
    guarded.sh(f"{_READ} > /dev/null")
    guarded.machine.press(list(strokes(secret[:_TYPED])))
    shown = f"fold -w 80 /dev/vcs1 | grep -c {secret[:_TYPED]} || true"
    assert wait_for(lambda: int(guarded.sh(shown)) >= 2, timeout=60, step=1)


def _held(path: Path, secret: str) -> dict[str, int]:
    """How much of it is in what of the host's, in a saved state; without those that hold none."""
    with SavedState(path) as state:
        video = b"".join(
            state.space_page(_video(state), page) for page in range(_TEXT_BYTES // 4096)
        )
        keyboard = state.unit_bytes("pckbd")
        held = {
            "screen": video[::_STRIDE].count(secret.encode()),
            "picture": len(state.unit_bytes("DisplayScreenshot")) - _NO_PICTURE,
            "disk": _audited(path, secret).get("piix3ide", 0),
            # The byte that the guest has fetched last, and how many wait behind it.
            "keyboard": bool(keyboard[3]) + struct.unpack_from("<I", keyboard, 21)[0],
            "serial": sum(any(state.unit_bytes("serial", line)[_SERIAL_DATA]) for line in range(2)),
        }
    return {what: count for what, count in held.items() if count}


def _video(state: SavedState) -> Space:
    """Video memory is the largest of the ranges that devices have."""
    spaces = [space for space in state.spaces() if space.name == "mmio2"]
    return max(spaces, key=lambda space: space.id)


def _audited(path: Path, secret: str) -> dict[str, int]:
    """How often `sparc audit` finds it in each unit that is not guest memory."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("sparc")), "audit", "--json", str(path)],
        input=secret,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    units: dict[str, int] = {}
    for finding in json.loads(done.stdout)["findings"]:
        if finding["place"] == "unit":
            units[finding["name"]] = units.get(finding["name"], 0) + 1
    return units


def _is_dark(png: bytes) -> bool:
    """Does the picture show nothing? In its rows, only a first byte each is not for pixels."""
    at, data, width = 8, b"", 0
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        body = png[at + 8 : at + 8 + length]
        width = struct.unpack_from(">I", body)[0] if kind == b"IHDR" else width
        data += body if kind == b"IDAT" else b""
        at += length + 12
    rows = zlib.decompress(data)
    row = 1 + 3 * width
    assert len(rows) % row == 0, "eight bits a colour"
    return not any(any(rows[start + 1 : start + row]) for start in range(0, len(rows), row))


def _exclude(guarded: Guarded) -> None:
    guarded.sh("setsid sleep 3600 </dev/null >/dev/null 2>&1 & sparc exclude --display $!")


def _there(guarded: Guarded, file: str) -> Callable[[], bool]:
    return lambda: guarded.sh(f"[ ! -s {file} ] || echo yes") != ""


def _screenshot(guarded: Guarded, to: Path) -> bytes:
    guarded.machine.screenshot(to)
    return to.read_bytes()


def test_without_exclusion_all_of_it_is_there(guarded: Guarded, secret: str) -> None:
    """Else the test that finds none would prove nothing."""
    wanted, held = {"screen", "picture", "disk", "keyboard"}, set()
    # The disk's buffer holds what went over last, and the system itself writes now and then.
    for turn in range(_TURNS):
        _use(guarded, secret)
        path, report = guarded.checkpoint(f"host-plain{turn}", "vboxmanage")
        assert report["reason"] == "nothing-excluded"
        held |= set(_held(path, secret))
        if wanted <= held:
            break
    # What was last on a serial line may have been a zero.
    assert wanted <= held


def test_with_the_screen_excluded_none_is(guarded: Guarded, secret: str, tmp_path: Path) -> None:
    guarded.sh(f"printf '\\033[2J\\033[H{secret}\\n' > /dev/tty1")
    _exclude(guarded)
    _use(guarded, secret)
    before = _screenshot(guarded, tmp_path / "before.png")
    path, report = guarded.checkpoint("host-clean", "vboxmanage")
    assert (report["clean"], report["display"]) == (True, "text"), report
    assert report["display_bytes"] > 0 and report["device_values"] > 0
    assert not _is_dark(before) and _screenshot(guarded, tmp_path / "after.png") == before
    assert _held(path, secret) == {}
    assert _audited(path, secret) == {}


def test_a_restored_machine_works(guarded: Guarded, secret: str, tmp_path: Path) -> None:
    """Follows the test above: its disk, its serial line, its keyboard and its screen do."""
    restores = guarded.restores()
    guarded.machine.restore("host-clean")
    guarded.await_restored(restores + 1)
    lines = int(guarded.sh(f"{_READ} | grep -c {secret}"))
    assert lines == _BLOCKS
    for terminal in ("tty1", "ttyS0"):
        # What was typed before the checkpoint may be on the line already.
        guarded.machine.type(terminal, f"\necho ok > /run/{terminal}\n")
        assert wait_for(_there(guarded, f"/run/{terminal}"), timeout=60, step=1), terminal
    assert not _is_dark(_screenshot(guarded, tmp_path / "restored.png"))
    guarded.check_kernel()
