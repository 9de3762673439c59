"""Shared by the unit tests: the samples, and states made to order."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import pytest
from samples import DATA, SAMPLES, Make, Search, write_state

from host_service.qemu import processes
from sparc.audit.report import Report
from sparc.audit.run import audit
from sparc.audit.secrets import Secret


@pytest.fixture(autouse=True)
def _no_vm_of_qemu(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever VMs this machine has of QEMU's, and whatever checkpoints of them."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "no-state"))
    monkeypatch.setattr(processes, "running", list)


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
    return functools.partial(write_state, tmp_path / "made.sav")
