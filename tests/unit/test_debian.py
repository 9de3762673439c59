"""Debian's packages: each part of the program is in one of them."""

from __future__ import annotations

from pathlib import Path

_PROJECT = Path(__file__).parents[2]
_PARTS = ("sparc", "guest_service", "host_service")


def _packaged() -> set[Path]:
    """The files of the program that are installed where Python looks for it."""
    found: set[Path] = set()
    for listed in (_PROJECT / "debian").glob("*.install"):
        for line in listed.read_text().splitlines():
            pattern, _, target = line.partition(" ")
            if not target.startswith("usr/share/sparc"):
                continue
            for path in _PROJECT.glob(pattern):
                assert target == f"usr/share/{Path('sparc', pattern).parent}".rstrip("/"), line
                found |= set(path.rglob("*")) if path.is_dir() else {path}
    return found


def test_no_module_is_left_out() -> None:
    wanted = {
        path
        for part in _PARTS
        for kind in ("*.py", "*.css", "*.bpf.c")
        for path in (_PROJECT / part).rglob(kind)
    }
    assert len(wanted) > 100
    assert sorted(map(str, wanted - _packaged())) == []
