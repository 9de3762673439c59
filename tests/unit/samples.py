"""Names that the unit tests share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sparc.audit.report import Report
from tools.bench.savwriter import PAGE, SavWriter

DATA = Path(__file__).parent / "data"
SAMPLES = ("plain", "live", "savestate")

Search = Callable[[Path, Sequence[bytes]], Report]
Pages = dict[int, bytes]
Make = Callable[..., Path]


def write_state(
    path: Path,
    pages: Pages,
    units: dict[str, bytes] | None = None,
    *,
    ram: int = 256 * PAGE,
    passes: Sequence[Pages] = (),
    cpus: int = 1,
    stream_crc: bool = True,
) -> Path:
    """Write a saved state with the given pages (by number) and other units (by name)."""
    writer = SavWriter(live=bool(passes), stream_crc=stream_crc)
    for number, earlier in enumerate(passes):
        writer.begin("pgm", 1, 14, number)
        if number == 0:
            writer.pgm_config(ram, roms=[("BIOS", 0xF0000, PAGE)], mmio2=[("VRam", 4 * PAGE)])
        for page, data in earlier.items():
            writer.ram(page, data)
        writer.pgm_end()
    writer.begin("pgm", 1, 14)
    writer.pgm_fixed(cpus)
    if not passes:
        writer.pgm_config(ram, roms=[("BIOS", 0xF0000, PAGE)], mmio2=[("VRam", 4 * PAGE)])
    for page, data in pages.items():
        writer.ram(page, data)
    writer.pgm_end()
    for name, content in (units or {}).items():
        writer.unit(name, content)
    path.write_bytes(writer.finish())
    return path
