"""Units of systemd by name, as control groups."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
from guest.bench import Bench

from guest_service import cgroups, client
from sparc.cli import exclude, guest
from sparc.cli.units import groups
from sparc.errors import GuestError

_SLICE = "user.slice/user-{0}.slice/user@{0}.service/app.slice"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "cgroup"
    for path in (
        "system.slice/vault.service/vault.service",
        f"{_SLICE.format(5)}/firefox.service",
        f"{_SLICE.format(6)}/firefox.service",
    ):
        (root / path).mkdir(parents=True)
    return root


def test_where_units_are(root: Path) -> None:
    assert groups("vault.service", str(root), 0) == ["/system.slice/vault.service"]
    both = [f"/{_SLICE.format(uid)}/firefox.service" for uid in (5, 6)]
    assert groups("firefox.service", str(root), 0) == both
    assert groups("firefox.service", str(root), 6) == both[1:]
    assert groups("vault.service", str(root), 6) == ["/system.slice/vault.service"]
    assert groups("system.slice", str(root), 0) == ["/system.slice"]
    # One that a user made, for root to fail on.
    (root / _SLICE.format(5) / "vault.service").mkdir()
    assert groups("vault.service", str(root), 0) == ["/system.slice/vault.service"]
    for absent in (str(root), None):
        with pytest.raises(GuestError) as raised:
            groups("none.service", absent, 0)
        assert (raised.value.code, raised.value.fields) == ("no-unit", {"value": "none.service"})


@pytest.mark.parametrize("word", ["0", "-5", "x", "a/b.service", "1.5", "9999999999", "²"])
def test_what_is_neither(word: str) -> None:
    with pytest.raises(click.BadParameter):
        guest._pid_or_unit(word)


def test_a_unit_is_excluded(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(tmp_path)
    process = subprocess.Popen(["sleep", "1000"])
    try:
        (root / "system.slice/vault.service/cgroup.procs").write_text(f"{process.pid}\n")
        monkeypatch.setattr(cgroups, "mount_point", lambda: str(root))
        bench.commands._root = str(root)
        ask = client.ask

        def here(request: dict[str, Any], files: Any = ()) -> dict[str, object]:
            return ask(request, bench.path, files)

        monkeypatch.setattr(client, "ask", here)
        if os.getuid() != 0:
            pytest.skip("only root excludes what it did not start itself")
        assert exclude.command.main(["vault.service"], standalone_mode=False) == 0
        assert bench.device.log == [f"exclude {process.pid}"]
        (root / "system.slice/vault.service/cgroup.procs").write_text("")
        assert exclude.command.main(["vault.service"], standalone_mode=False) == 2
        assert "unit vault.service: matches no process" in capfd.readouterr().err
    finally:
        process.kill()
        process.wait()
        bench.close()
