"""The wheel and the source archive: all is in them, the pack and guests' parts too."""

from __future__ import annotations

import sys
from pathlib import Path

from sparc_lab.processes import run

_PROJECT = Path(__file__).parents[2]


def test_the_wheel_is_whole(tmp_path: Path) -> None:
    run([str(_PROJECT / "tools/package"), "dist", str(tmp_path / "dist")], timeout=1800)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    (source,) = (tmp_path / "dist").glob("*.tar.gz")
    for number, package in enumerate((wheel, source)):
        venv = tmp_path / f"venv{number}"
        run([sys.executable, "-m", "venv", str(venv)])
        run([str(venv / "bin/python"), "-m", "pip", "install", "-q", str(package)], timeout=1800)
        code = (
            "from host_service import extension_pack\n"
            "from guest_service import parts\n"
            "assert extension_pack.build().stat().st_size > 10_000\n"
            "assert 'park.c' in dict(parts.module_sources())\n"
            "print(len(dict(parts.sources())))"
        )
        run([str(venv / "bin/python"), "-I", "-c", code])
        run([str(venv / "bin/sparc"), "--version"])
        run([str(venv / "bin/sparc"), "sav", "info", str(_PROJECT / "tests/unit/data/plain.sav")])
