"""Shared by the unit tests: the samples, and states made to order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from samples import DATA, SAMPLES, Make, Pages, Search

from sparc.audit.report import Report
from sparc.audit.run import audit
from sparc.audit.secrets import Secret
from tools.bench.savwriter import PAGE, SavWriter


@pytest.fixture(params=SAMPLES)
def sample(request: pytest.FixtureRequest) -> Path:
    """Each saved state that VirtualBox 7.2.22 wrote."""
    return DATA / f"{request.param}.sav"


@pytest.fixture
def search() -> Search:
    """Audits a file for a list of byte strings."""

    def run(path: Path, values: Sequence[bytes]) -> Report:
        return audit(path, [Secret(i, "test", i, value) for i, value in enumerate(values, 1)])

    return run


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a saved state with the given pages (by number) and other units (by name)."""

    def write(
        pages: Pages,
        units: dict[str, bytes] | None = None,
        *,
        ram: int = 256 * PAGE,
        passes: Sequence[Pages] = (),
        cpus: int = 1,
        stream_crc: bool = True,
    ) -> Path:
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
        path: Path = tmp_path / "made.sav"
        path.write_bytes(writer.finish())
        return path

    return write
