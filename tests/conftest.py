"""Fixtures of all tests: a lab of real virtual machines, started once and ended with the run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sparc_lab import Lab, QemuMachine, Settings, VirtualBoxMachine

_MUST_RUN = ("guest", "e2e")
_skipped: list[str] = []


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A lab that is gone when the tests end, however they end."""
    if os.geteuid() != 0:
        pytest.skip("virtual machines are started as root: sudo make test")
    with Lab(owned=True) as lab:
        yield lab


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Iterator[VirtualBoxMachine]:
    """A small machine under VirtualBox, fresh for each test file."""
    machine = lab.up(Settings("victim", "virtualbox"))
    assert isinstance(machine, VirtualBoxMachine)
    yield machine
    lab.down("victim")


@pytest.fixture(scope="module")
def qemu(lab: Lab) -> Iterator[QemuMachine]:
    """A small machine under QEMU, fresh for each test file."""
    machine = lab.up(Settings("quick", "qemu"))
    assert isinstance(machine, QemuMachine)
    yield machine
    lab.down("quick")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note every skipped test that needs a virtual machine."""
    tier = Path(report.fspath).parts[1:2]
    if report.skipped and tier and tier[0] in _MUST_RUN:
        _skipped.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a test that did not run has failed."""
    if _skipped and os.environ.get("CI"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why the exit status is what it is."""
    if _skipped and os.environ.get("CI"):
        terminalreporter.write_line(f"failed: skipped in CI: {', '.join(_skipped)}", red=True)
