"""A process that does to `sparc watch` what VirtualBox does, with saves made to order.

So it can be tried what VirtualBox itself does not do: a save that is not what its file says.
"""

from __future__ import annotations

import io
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Self
from xml.sax.saxutils import quoteattr

from sparc.sav import c_pgm, c_ssm
from sparc.sav.ssm import Unit
from sparc.sav.state import SavedState

__all__ = ["UUID", "Puppet", "calls"]

UUID = "5b2a9b0e-6c1d-4f9a-8a53-3f9b1c2d4e5f"
_SOURCES = Path(__file__).parent / "puppet"
_SETTINGS = """<?xml version="1.0"?>
<VirtualBox xmlns="http://www.virtualbox.org/" version="1.19-linux">
  <Machine uuid="{%s}" name=%s OSType="Linux26_64" snapshotFolder="Snapshots"/>
</VirtualBox>
"""
_RAM = (c_pgm.RAM_ZERO, c_pgm.RAM_RAW, c_pgm.RAM_BALLOONED)
_RAW = (c_pgm.RAM_RAW, c_pgm.MMIO2_RAW, c_pgm.ROM_VIRGIN, c_pgm.ROM_SHADOW_RAW)


class Puppet:
    """The process of a VM of that name, in a folder of its own. As a context, ends with it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.snapshots = folder / name / "Snapshots"
        log = folder / name / "Logs/VBox.log"
        for made in (self.snapshots, log.parent):
            made.mkdir(parents=True)
        (folder / name / f"{name}.vbox").write_text(_SETTINGS % (UUID, quoteattr(name)))
        for library in ("VBoxRT", "VBoxVMM"):
            built = folder / f"{library}.so"
            _compile(built, _SOURCES / f"{library}.c", "-shared", "-fPIC")
        program = folder / "VirtualBoxVM"
        libraries = (folder / "VBoxVMM.so", folder / "VBoxRT.so", f"-Wl,-rpath,{folder}")
        _compile(program, _SOURCES / "VirtualBoxVM.c", *map(str, libraries))
        self._process = subprocess.Popen(
            [program, log], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.play([])

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def play(self, lines: list[str]) -> None:
        """Make these calls; returns when they were made."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("\n".join([*lines, "done\n"]))
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"


def _compile(target: Path, source: Path, *options: str) -> None:
    warnings = ("-Wall", "-Wextra", "-Werror")
    argv = ["gcc", "-O1", "-fno-ipa-icf", *warnings, "-o", str(target), str(source), *options]
    subprocess.run(argv, check=True)


def calls(path: Path, *, goes_on: bool = True, status: int = 0) -> list[str]:
    """The calls by which that saved state was written."""
    with SavedState(path) as state:
        lines = ["suspend 1", f"save {int(goes_on)}", f"header {state.stored(0, 64).hex()}"]
        for unit in state.units:
            head = state.stored(unit.offset, unit.data_offset - unit.offset)
            lines.append(f"header {head.hex()}")
            if unit.name == "pgm":
                lines += _pgm(state, unit)
            else:
                # Of what devices save, such bytes say nothing.
                lines += [f"u8 {value}" for value in (0x81, 1, 0xFF)]
        lines.append(f"header {c_ssm.END_MAGIC.hex()}{bytes(36).hex()}")
        footer = state.stored(state.size - c_ssm.footer.sizeof(), c_ssm.footer.sizeof())
        lines += [f"header {footer.hex()}", f"end {status}"]
    return [*lines, "resume 5"] if goes_on else lines


def _pgm(state: SavedState, unit: Unit) -> Iterator[str]:
    content = io.BytesIO(b"".join(state.unit_content(unit)))
    if unit.final:
        content.seek(c_pgm.FIXED_SIZE + state.memory.cpus * c_pgm.CPU_SIZE)
    if unit.pass_ == 0 or not state.header.live:
        yield f"u64 {c_pgm.ram_config.parse_stream(content).size}"
        for kind in (c_pgm.rom_range, c_pgm.mmio2_range):
            yield from _ranges(content, kind is c_pgm.rom_range)
    while True:
        first = content.read(1)[0]
        yield f"u8 {first}"
        if first == c_pgm.RECORD_END:
            return
        yield from _record(content, first & ~c_pgm.FLAG_ADDRESS, first & c_pgm.FLAG_ADDRESS)


def _ranges(content: io.BytesIO, rom: bool) -> Iterator[str]:
    kind = c_pgm.rom_range if rom else c_pgm.mmio2_range
    while content.getvalue()[content.tell()] != c_pgm.RANGES_END:
        found = kind.parse_stream(content)
        yield f"u8 {found.id}"
        yield f"u8 {found.region}"
        if rom:
            yield f"gcphys {found.address}"
        yield f"gcphys {found.size}"
    content.read(1)
    yield f"u8 {c_pgm.RANGES_END}"


def _record(content: io.BytesIO, kind: int, addressed: int) -> Iterator[str]:
    if addressed and kind in _RAM:
        yield f"gcphys {struct.unpack('<Q', content.read(8))[0]}"
    elif addressed:
        number, _ = struct.unpack("<BI", content.read(5))
        yield f"u8 {number}"
    if kind >= c_pgm.ROM_VIRGIN and kind != c_pgm.RAM_BALLOONED:
        yield f"u8 {content.read(1)[0]}"
    if kind in _RAW:
        content.read(c_pgm.PAGE)
        yield f"mem {c_pgm.PAGE}"
