"""`sparc doctor` in a guest: red when something is wrong, and green after its own advice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from sparc_lab import KERNELS, Lab, QemuMachine

from tests.guest.served import Served

_INSTALL_MODULE = """
folder=/lib/modules/$(uname -r)/updates
mkdir -p $folder && cp /root/sparc.ko $folder && depmod -a
"""
_RULE = "/etc/sparc/exclude.d/wrong.toml"


@dataclass(frozen=True)
class _Fault:
    """`inject` makes `what` wrong; `edit` is what a person does where the advice is to edit."""

    what: str
    inject: str
    edit: str = ""


_FAULTS = {
    "service stopped": _Fault("service", "guestd stop"),
    "module unloaded": _Fault("module", "guestd stop; rmmod sparc"),
    "no clearing": _Fault("freed memory", "echo 0 >/sys/module/sparc/parameters/scrub"),
    "rule": _Fault(
        "rules",
        f"mkdir -p $(dirname {_RULE}); echo '[[exclude' >{_RULE}; guestd reload",
        f"rm {_RULE}",
    ),
}
_NO_PROBES = _Fault("freed memory", "echo 0 >/proc/sys/kernel/ftrace_enabled")


@pytest.fixture(scope="module")
def here(lab: Lab, guest: QemuMachine, kernel: str) -> Iterator[Served]:
    here = Served(lab, guest, kernel)
    here.ok(_INSTALL_MODULE)
    here.ok("systemctl enable sparc-guestd 2>/dev/null || true")
    yield here


def _findings(here: Served) -> dict[str, dict[str, Any]]:
    told = here.json("sparc doctor --guest --json")
    return {finding["what"]: finding for finding in told["findings"]}


def test_all_is_green(here: Served) -> None:
    assert {finding["state"] for finding in _findings(here).values()} <= {"good", "note"}
    assert here.sh("sparc doctor --guest").status == 0


@pytest.mark.parametrize("name", _FAULTS)
def test_what_it_says_of_a_fault_mends_it(here: Served, name: str) -> None:
    _check(here, _FAULTS[name])


@pytest.mark.parametrize("kernel", KERNELS[1:], indirect=True)
def test_what_it_says_of_probes_mends_them(here: Served) -> None:
    """The lab's kernel cannot lose them."""
    _check(here, _NO_PROBES)


@pytest.mark.parametrize("kernel", KERNELS[1:], indirect=True)
def test_a_kernel_that_wants_signed_modules_is_told_of(here: Served) -> None:
    """As with Secure Boot. It comes last: until it is booted anew the kernel wants them."""
    here.ok("guestd stop; rmmod sparc; echo 1 >/sys/module/module/parameters/sig_enforce")
    assert b"Key was rejected by service" in here.sh("modprobe sparc").stderr
    assert b"kernel module is not loaded" in here.sh("sparc status").stderr
    found = _findings(here)["lockdown"]
    assert found["state"] == "bad"
    assert "mokutil --import /var/lib/dkms/mok.pub" in found["mend"]


def _check(here: Served, fault: _Fault) -> None:
    here.sh(fault.inject)
    assert here.sh("sparc doctor --guest").status == 1
    found = _findings(here)[fault.what]
    assert found["state"] == "bad", found
    if fault.edit:
        assert found["mend"].startswith(f"edit {_RULE}, then ")
        here.ok(f"{fault.edit}\n{found['mend'].split(', then ')[1]}")
    # One thing may stand behind another: module, then service.
    for _ in range(3):
        wrong = [one for one in _findings(here).values() if one["state"] == "bad"]
        if not wrong:
            break
        here.ok(wrong[0]["mend"])
    assert here.sh("sparc doctor --guest --quiet").status == 0, _findings(here)
