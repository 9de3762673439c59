"""The image for guests: where it is written, and that nothing of others is in its way."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from host_service import guest_iso
from host_service.errors import HostError


@pytest.fixture
def xorriso(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """One that writes a word; where it wrote."""
    written: list[Path] = []

    def run(argv: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        out = Path(argv[argv.index("-o") + 1])
        assert not out.exists() and out.parent.stat().st_mode & 0o777 == 0o700
        assert Path(argv[-1], "install").exists() and Path(argv[-1], "kmod/park.c").exists()
        out.write_text("image")
        written.append(out)
        return subprocess.CompletedProcess(argv, 0, "", "")

    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/xorriso")
    monkeypatch.setattr("subprocess.run", run)
    return written


def test_it_takes_the_place_of_what_is_there(xorriso: list[Path], tmp_path: Path) -> None:
    target = tmp_path / "guest.iso"
    target.write_text("old")
    others = tmp_path / "guest.iso.new"
    others.write_text("somebody's")
    guest_iso.write(str(target))
    assert target.read_text() == "image" and others.read_text() == "somebody's"
    assert xorriso[0].parent.parent == tmp_path
    assert sorted(tmp_path.iterdir()) == [target, others]


def test_of_one_that_does_not_end_nothing_is_left(
    xorriso: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(argv: list[str], **_: Any) -> None:
        Path(argv[argv.index("-o") + 1]).write_text("half")
        raise subprocess.TimeoutExpired(argv, 1)

    monkeypatch.setattr("subprocess.run", late)
    with pytest.raises(HostError):
        guest_iso.write(str(tmp_path / "guest.iso"))
    assert not list(tmp_path.iterdir()) and not xorriso
