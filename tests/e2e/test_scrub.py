"""Checkpoints that were scrubbed, restored by the real VirtualBox."""

from __future__ import annotations

import hashlib
import json
import secrets as random_source
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sparc_lab import VirtualBoxMachine

from sparc.sav.core import differing_pages
from sparc.sav.index import Space
from sparc.sav.state import SavedState
from tests.e2e.victims.plant import secret

_VICTIM = Path(__file__).parent / "victims/plant.py"
_COUNT = 50


def sparc(*argv: object, secrets: list[str] | None = None) -> tuple[int, dict[str, Any]]:
    """The exit status and the JSON of one of our commands; the secrets are its input."""
    program = Path(sys.executable).with_name("python")
    more = ["--secret-file", "-"] if secrets else []
    done = subprocess.run(
        [str(program), "-m", "sparc.cli", *map(str, argv), "--json", *more],
        input="\n".join(secrets or ()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def works(machine: VirtualBoxMachine) -> None:
    """The guest answers, its clock and files are alive, its kernel has nothing to complain of."""
    script = """
        head -c 3000000 /dev/urandom > /root/probe && sync && echo 3 > /proc/sys/vm/drop_caches
        cksum /root/probe >/dev/null && rm /root/probe
        ! dmesg | grep -E 'BUG:|Oops:|Kernel panic|EXT4-fs error'
    """
    done = machine.shell(script, 300)
    assert done.status == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def seed(machine: VirtualBoxMachine) -> str:
    """A guest program holds secrets made from it; the checkpoint `planted` has them."""
    seed = random_source.token_hex(16)
    machine.put(_VICTIM, "/root/plant.py")
    machine.shell(f"setsid python3 /root/plant.py {seed} {_COUNT} >/root/plant.log 2>&1 &")
    waited = machine.shell("until [ -e /run/planted ]; do sleep 1; done", 300)
    assert waited.status == 0, machine.shell("cat /root/plant.log").text
    machine.checkpoint("planted")
    return seed


@pytest.fixture
def planted(machine: VirtualBoxMachine, seed: str) -> list[str]:
    """The secrets; the machine holds them, whatever the test before has made of it."""
    machine.restore("planted")
    return [secret(seed, number) for number in range(_COUNT)]


@pytest.mark.parametrize(
    ("way", "whole"),
    [
        ("vboxmanage", False),
        pytest.param("live", False, marks=pytest.mark.long),
        pytest.param("savestate", False, marks=pytest.mark.long),
        ("live", True),
    ],
)
def test_secrets_are_gone_and_the_guest_goes_on(
    machine: VirtualBoxMachine, planted: list[str], way: str, whole: bool, tmp_path: Path
) -> None:
    name = f"{way}-{whole}"
    path = machine.checkpoint(name, way)
    assert sparc("audit", path, secrets=planted)[0] == 1
    options = ["--whole-pages"] if whole else []
    status, report = sparc("scrub", path, *options, secrets=planted)
    assert (status, report["status"], report["written"]) == (0, "clean", True), report
    assert sparc("audit", path, secrets=planted)[1]["findings"] == []

    # What VirtualBox loads is what stands in the file.
    core = tmp_path / "core"
    machine.restore(name, paused=True)
    machine.core(core)
    with SavedState(path) as state:
        compared, differing = differing_pages(state, core)
    assert compared > 30_000
    assert differing == []
    machine.resume()
    works(machine)
    if not whole:  # Then it may have lost what it needs.
        assert machine.shell("pgrep -f plant.py").status == 0


@pytest.mark.parametrize("way", ["vboxmanage", pytest.param("live", marks=pytest.mark.long)])
def test_free_memory_is_gone_and_nobody_misses_it(
    machine: VirtualBoxMachine, seed: str, way: str
) -> None:
    machine.restore("planted")
    number = 1000
    lines = (
        "import sys, mmap",
        "sys.path.insert(0, '/root')",
        "import plant",
        f"page = plant.secret('{seed}', {number}).encode().ljust(4096, b'.')",
        "memory = mmap.mmap(-1, 2048 * len(page))",
        "memory.write(page * 2048)",
    )
    assert machine.run(["python3", "-c", "; ".join(lines)], 300).status == 0
    path = machine.checkpoint(f"free-{way}", way)
    wanted = [secret(seed, number)]
    before = sparc("audit", path, secrets=wanted)[1]["findings"]
    assert len(before) > 500
    status, report = sparc("scrub", path, "--free")
    assert (status, report["status"], report["written"]) == (0, "clean", True), report
    assert report["kinds"]["free memory"]["pages"] > 1000
    assert sparc("audit", path, secrets=wanted)[1]["findings"] == []
    machine.restore(f"free-{way}")
    works(machine)


@pytest.mark.parametrize("way", ["vboxmanage", pytest.param("live", marks=pytest.mark.long)])
def test_a_process_is_gone_and_others_go_on(
    machine: VirtualBoxMachine, planted: list[str], way: str
) -> None:
    pid = machine.shell("pgrep -f plant.py").text.split()[0]
    path = machine.checkpoint(f"process-{way}", way)
    assert sparc("audit", path, secrets=planted)[0] == 1
    status, report = sparc("scrub", path, "--process", pid, "--free")
    # What only the guest's own module finds is named.
    assert (status, report["status"], report["written"]) == (1, "not clean", True), report
    assert "sockets" in {one["kind"] for one in report["left"]}
    assert report["processes"] == [{"pid": int(pid), "name": "python3"}]
    assert report["kinds"]["process memory"]["pages"] > 2 * _COUNT
    assert sparc("audit", path, secrets=planted)[1]["findings"] == []
    machine.restore(f"process-{way}")
    works(machine)
    # It sleeps; awake, it finds nothing to go on with.
    gone = f"kill -TERM {pid}; for i in 1 2 3 4 5 6 7 8; do kill -0 {pid} || exit 0; sleep 1; done"
    assert machine.shell(f"({gone}; exit 1) 2>/dev/null").status == 0
    works(machine)


@pytest.mark.parametrize("way", ["vboxmanage", pytest.param("live", marks=pytest.mark.long)])
def test_files_of_a_process_are_read_again_from_the_disk(
    machine: VirtualBoxMachine, seed: str, way: str
) -> None:
    machine.restore("planted")
    # One that was written, which the kernel remembers block by block, and one that was only read.
    setup = f"""
        cd /root && line=$(printf '%s/diary' {seed} | sha256sum | cut -c1-40)
        for i in $(seq 3000); do echo "$line $i"; done > read
        for i in $(seq 3000); do echo "$line $i"; done > written
        sync; echo 3 > /proc/sys/vm/drop_caches
        echo "$line" >> written; sync
        cat read written > /dev/null
        exec 8<>written 9<read
        setsid sleep 100000 </dev/null >/dev/null 2>&1 &
        echo $!; cksum read written
    """
    done = machine.shell(setup, 300)
    assert done.status == 0
    pid, _, sums = done.text.partition("\n")
    line = hashlib.sha256(f"{seed}/diary".encode()).hexdigest()[:40]
    path = machine.checkpoint(f"files-{way}", way)
    assert len(sparc("audit", path, secrets=[line])[1]["findings"]) > 3000
    _, report = sparc("scrub", path, "--process", pid, "--free")
    assert report["kinds"]["files in the page cache"]["pages"] >= 60, report
    # The shells have what tells of the language.
    why = {one["why"].partition(" ")[2] for one in report["left"] if one["kind"] == "files"}
    assert why <= {"pages mapped by others"}, report["left"]
    assert sparc("audit", path, secrets=[line])[1]["findings"] == []
    machine.restore(f"files-{way}")
    assert machine.shell("cd /root && cksum read written").text == sums
    works(machine)


def _characters(path: Path) -> str:
    """What a text screen shows: each character is the first byte of four in video memory."""
    with SavedState(path) as state:
        vram = next(r for r in state.memory.mmio2.values() if r.description == "VRam")
        space = Space("mmio2", vram.id)
        planes = b"".join(state.space_page(space, page) for page in range(8))
    return planes[::4].replace(b"\0", b"").decode("cp437")


def test_the_screen_is_blank_and_can_be_written_to(
    machine: VirtualBoxMachine, seed: str, tmp_path: Path
) -> None:
    machine.restore("planted")
    typed = random_source.token_hex(12)
    machine.type("tty1", typed)
    machine.shell("sleep 2")
    path = machine.checkpoint("screen")
    assert typed in _characters(path)
    status, report = sparc("scrub", path, "--screen")
    assert (status, report["written"]) == (0, True), report
    assert not _characters(path)
    with SavedState(path) as state:
        assert state.unit_bytes("DisplayScreenshot").count(b"\0") > 1000
    machine.restore("screen")
    # The fonts are there: what is typed now shows.
    dark, lit = tmp_path / "dark.png", tmp_path / "lit.png"
    machine.screenshot(dark)
    machine.type("tty1", "\n\necho visible again\n")
    machine.shell("sleep 3")
    machine.screenshot(lit)
    assert len(lit.read_bytes()) > len(dark.read_bytes())
    works(machine)
