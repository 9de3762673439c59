"""The folder of sockets: always the same one, and nobody else's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from host_service.errors import HostError
from host_service.run_dir import hostd_socket, run_dir, usable_run_dir, vm_socket


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Stands for /run."""
    if os.geteuid():
        (tmp_path / "user" / str(os.geteuid())).mkdir(parents=True)
    return tmp_path


def test_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_RUNTIME_DIR", "HOME", "TMPDIR"):
        monkeypatch.setenv(name, "/elsewhere")
    assert run_dir(0) == Path("/run/sparc-host")
    assert run_dir(1000) == Path("/run/user/1000/sparc")
    assert run_dir() == run_dir(os.geteuid())
    assert hostd_socket(run_dir(0)) == Path("/run/sparc-host/hostd.sock")
    assert vm_socket(run_dir(0), "a-b") == Path("/run/sparc-host/vm-a-b.sock")


def test_made_once(base: Path) -> None:
    with pytest.raises(FileNotFoundError):
        usable_run_dir(base=base)
    made = usable_run_dir(make=True, base=base)
    assert made.stat().st_mode & 0o7777 == 0o700
    assert usable_run_dir(make=True, base=base) == usable_run_dir(base=base) == made


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o750, 0o777])
def test_not_what_others_may_enter(base: Path, mode: int) -> None:
    usable_run_dir(make=True, base=base).chmod(mode)
    with pytest.raises(HostError, match="not ours alone"):
        usable_run_dir(make=True, base=base)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_not_what_another_made(base: Path) -> None:
    os.chown(usable_run_dir(make=True, base=base), 12345, -1)
    with pytest.raises(HostError, match="not ours alone"):
        usable_run_dir(base=base)


def test_not_a_link(base: Path, tmp_path: Path) -> None:
    place = run_dir(base=base)
    (tmp_path / "mine").mkdir(mode=0o700)
    place.symlink_to(tmp_path / "mine")
    with pytest.raises(HostError, match="not a folder"):
        usable_run_dir(make=True, base=base)


def test_nowhere_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot be made"):
        usable_run_dir(make=True, base=tmp_path / "no")
