"""Fixtures of all tests: a lab of real virtual machines, started once and ended with the run."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from sparc_lab import KERNELS, Lab, QemuMachine, Settings, VirtualBoxMachine
from sparc_lab.machine import Machine

# What they assert is told as it is for tests.
pytest.register_assert_rewrite("tests.e2e", "tests.guest", "tests.promises")

_M = TypeVar("_M", VirtualBoxMachine, QemuMachine)
_MUST_RUN = ("guest", "e2e", "hm", "packages")
_skipped: list[str] = []


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A lab that is gone when the tests end, however they end."""
    if os.geteuid() != 0:
        pytest.skip("virtual machines are started as root: sudo make test")
    with Lab(owned=True) as lab:
        yield lab


@contextlib.contextmanager
def _up(lab: Lab, kind: type[_M], settings: Settings) -> Iterator[_M]:
    machine = lab.up(settings)
    try:
        assert isinstance(machine, kind)
        yield machine
    finally:
        lab.down(settings.name)


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Iterator[VirtualBoxMachine]:
    """A small machine under VirtualBox, fresh for each test file."""
    with _up(lab, VirtualBoxMachine, Settings("victim", "virtualbox")) as machine:
        yield machine


@pytest.fixture(scope="module")
def qemu(lab: Lab) -> Iterator[QemuMachine]:
    """A small machine under QEMU, fresh for each test file."""
    with _up(lab, QemuMachine, Settings("quick", "qemu")) as machine:
        yield machine


@pytest.fixture(scope="module", params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> str:
    """The name of each kernel that guests can have, in turn."""
    return str(request.param)


@pytest.fixture(scope="module")
def guest(lab: Lab, kernel: str) -> Iterator[QemuMachine]:
    """A machine with each kernel in turn, under QEMU, fresh for each test file and kernel.

    Large enough for transparent huge pages, which smaller ones have off.
    """
    settings = Settings("guest", "qemu", memory=1024, cpus=2, kernel=kernel)
    with _up(lab, QemuMachine, settings) as machine:
        yield machine


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say of a failed test how its machines are, and whether this one had room for them."""
    report = yield
    if report.failed:
        given = [getattr(value, "machine", value) for value in item.funcargs.values()]
        for machine in {
            value.name: value for value in given if isinstance(value, Machine)
        }.values():
            with contextlib.suppress(Exception):
                said = f"{machine.state()}; {machine.evidence()}"
                report.sections.append((f"machine {machine.name}", said))
        memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = f"{shutil.disk_usage('/var').free >> 20} MB of disk"
        said = f"{free}, {memory['MemAvailable'].strip()} of memory, load {os.getloadavg()}"
        report.sections.append(("free here", said))
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On further kernels, most tests show what they have shown on the first."""
    for item in items:
        parameters = getattr(item, "callspec", None)
        kernel = parameters.params.get("kernel", KERNELS[0]) if parameters else KERNELS[0]
        if kernel != KERNELS[0] and not item.get_closest_marker("every_kernel"):
            item.add_marker(pytest.mark.long)


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
