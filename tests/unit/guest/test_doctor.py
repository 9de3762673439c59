"""`sparc doctor` in a guest: each fault is injected and seen, then mended by its own advice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guest_service import doctor
from guest_service.device import DeviceError
from guest_service.doctor import Guest, examine
from sparc.cli import doctor as command_module
from sparc.errors import GuestError
from sparc.findings import BAD, GOOD, NOTE, UNKNOWN, Finding, bad, good, note, status, unknown
from sparc.wire import VERSION

_RELEASE = "6.1.0-40-amd64"
_MOUNT = "30 20 0:26 / {} rw - cgroup2 cgroup2 rw\n"


class Bench:
    """A guest in a folder, with nothing wrong."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.make()

    def make(self) -> None:
        """As it must be, whatever it was."""
        self.reply: dict[str, Any] | GuestError = {
            "abi": VERSION,
            "pid": 99,
            "rules": {"count": 2, "problems": [], "told_by": "kernel"},
            "checkpoint": None,
        }
        self.guest = Guest(
            root=self.root,
            ask=self._ask,
            open_device=lambda: VERSION,
            release=_RELEASE,
            version="#1 SMP PREEMPT_DYNAMIC Debian",
            machine="x86_64",
            uid=0,
        )
        self.write("dev/sparc", "")
        self.write("sys/module/sparc/parameters/scrub", "2\n")
        self.write("sys/module/sparc/version", f"{self.guest.installed}\n")
        self.write("sys/kernel/security/lockdown", "[none] integrity confidentiality\n")
        self.write("sys/module/module/parameters/sig_enforce", "N\n")
        self.write("sys/class/dmi/id/product_name", "VirtualBox\n")
        self.write("run/systemd/system/x", "")
        self.write("proc/self/mountinfo", _MOUNT.format("/sys/fs/cgroup"))
        self.write("sys/fs/cgroup/system.slice/cgroup.freeze", "0\n")
        self.write("proc/cmdline", "root=/dev/sda1\n")
        self.write("proc/sys/kernel/ftrace_enabled", "1\n")
        self.write("proc/swaps", "Filename Type Size Used Priority\n")
        self.write("proc/meminfo", "MemTotal: 900 kB\nMemAvailable:   500 kB\n")
        self.write("etc/group", "root:x:0:\nsparc:x:99:\n")
        self.write(f"lib/modules/{_RELEASE}/modules.dep", "updates/dkms/sparc.ko.xz:\n")

    def _ask(self, request: dict[str, object]) -> dict[str, Any]:
        if isinstance(self.reply, GuestError):
            raise self.reply
        return self.reply

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def write_all(self, *files: tuple[str, str]) -> None:
        for path, text in files:
            self.write(path, text)

    def remove(self, path: str) -> None:
        (self.root / path).unlink()

    def unload(self) -> None:
        self.remove("dev/sparc")
        self.remove("sys/module/sparc/parameters/scrub")
        self.remove("sys/module/sparc/version")
        for folder in ("sys/module/sparc/parameters", "sys/module/sparc"):
            (self.root / folder).rmdir()
        self.reply = GuestError("no-module")

    def told(self, **changes: Any) -> None:
        assert isinstance(self.reply, dict)
        self.reply = {**self.reply, **changes}

    def look(self) -> dict[str, Finding]:
        self.guest._status = None
        return {finding.what: finding for finding in examine(self.guest)}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_all_is_right(bench: Bench) -> None:
    found = bench.look()
    assert {finding.state for finding in found.values()} == {GOOD}, found
    assert len(found) == 12 and status(found.values()) == 0


_Do = Callable[[Bench], None]


def _swapped(text: str) -> _Do:
    return lambda b: b.write("proc/swaps", f"Filename Type Size Used Priority\n{text}")


def _last(outcome: str, reason: str) -> _Do:
    last = {"outcome": outcome, "reason": reason, "pid": 5, "name": "x"}
    return lambda b: b.told(checkpoint=last)


def _rules(*problems: dict[str, Any]) -> _Do:
    return lambda b: b.told(rules={"count": 1, "problems": list(problems), "told_by": "kernel"})


_FAULTS: dict[str, tuple[_Do, str, str, str, _Do]] = {
    "not loaded": (
        Bench.unload,
        "module",
        BAD,
        "modprobe sparc",
        Bench.make,
    ),
    "of before the upgrade": (
        lambda b: b.write("sys/module/sparc/version", "0.0.9\n"),
        "module",
        NOTE,
        "rmmod sparc",
        lambda b: b.write("sys/module/sparc/version", f"{b.guest.installed}\n"),
    ),
    "no service": (
        lambda b: setattr(b, "reply", GuestError("no-service")),
        "service",
        BAD,
        "systemctl enable --now sparc-guestd",
        Bench.make,
    ),
    "a silent service": (
        lambda b: setattr(b, "reply", GuestError("silent")),
        "service",
        BAD,
        "systemctl restart sparc-guestd",
        Bench.make,
    ),
    "another ABI": (
        lambda b: b.told(abi=VERSION + 1),
        "module's ABI",
        BAD,
        "one release",
        lambda b: b.told(abi=VERSION),
    ),
    "no cgroups": (
        lambda b: b.write("proc/self/mountinfo", "30 20 0:26 / /sys rw - tmpfs none rw\n"),
        "cgroup v2",
        BAD,
        "mount -t cgroup2 none /sys/fs/cgroup",
        lambda b: b.write("proc/self/mountinfo", _MOUNT.format("/sys/fs/cgroup")),
    ),
    "no freezer": (
        lambda b: b.remove("sys/fs/cgroup/system.slice/cgroup.freeze"),
        "cgroup v2",
        BAD,
        "5.2",
        lambda b: b.write("sys/fs/cgroup/system.slice/cgroup.freeze", "0"),
    ),
    "freed memory": (
        lambda b: b.write("sys/module/sparc/parameters/scrub", "0"),
        "freed memory",
        BAD,
        "echo 2 >/sys/module/sparc/parameters/scrub",
        lambda b: b.write("sys/module/sparc/parameters/scrub", "2"),
    ),
    "freed memory, later": (
        lambda b: b.write("sys/module/sparc/parameters/scrub", "1"),
        "freed memory",
        NOTE,
        "echo 2 >/sys/module/sparc/parameters/scrub",
        lambda b: b.write("proc/cmdline", "quiet init_on_free=1"),
    ),
    "no probes": (
        lambda b: b.write("proc/sys/kernel/ftrace_enabled", "0"),
        "freed memory",
        BAD,
        "sysctl kernel.ftrace_enabled=1",
        lambda b: b.write("proc/sys/kernel/ftrace_enabled", "1"),
    ),
    "swap is fuller than memory": (
        _swapped("/dev/sda2 partition 9000 501 -2\n"),
        "swap",
        BAD,
        "swapoff -a",
        _swapped(""),
    ),
    "zram that writes back": (
        lambda b: b.write_all(
            ("proc/swaps", "Filename Type Size Used Priority\n/dev/zram0 partition 9000 0 100\n"),
            ("sys/block/zram0/backing_dev", "/dev/sda3\n"),
        ),
        "swap",
        BAD,
        "swapoff /dev/zram0",
        _swapped(""),
    ),
    "confidentiality": (
        lambda b: b.write("sys/kernel/security/lockdown", "none integrity [confidentiality]"),
        "lockdown",
        BAD,
        "lockdown=confidentiality",
        lambda b: b.write("sys/kernel/security/lockdown", "[none] integrity confidentiality"),
    ),
    "a wrong rule": (
        _rules({"path": "/etc/sparc/exclude.d/a.toml", "owner": 0, "key": "exe", "why": "?"}),
        "rules",
        BAD,
        "edit /etc/sparc/exclude.d/a.toml, then systemctl reload sparc-guestd",
        _rules(),
    ),
    "a failed checkpoint": (
        _last("failed", "swap"),
        "last checkpoint",
        BAD,
        "swapoff -a",
        _last("resumed", "none"),
    ),
    "no group": (
        lambda b: b.write("etc/group", "root:x:0:\n"),
        "group sparc",
        NOTE,
        "addgroup --system sparc",
        lambda b: b.write("etc/group", "sparc:x:99:\n"),
    ),
    "real time": (
        lambda b: setattr(b.guest, "version", "#1 SMP PREEMPT_RT Debian"),
        "kernel",
        BAD,
        "without PREEMPT_RT",
        lambda b: setattr(b.guest, "version", "#1 SMP Debian"),
    ),
    "an old kernel": (
        lambda b: setattr(b.guest, "release", "5.10.0"),
        "kernel",
        BAD,
        "newer kernel",
        lambda b: setattr(b.guest, "release", _RELEASE),
    ),
}


@pytest.mark.parametrize("fault", _FAULTS)
def test_a_fault_is_seen_and_its_mending_too(bench: Bench, fault: str) -> None:
    inject, what, state, mend, do_mend = _FAULTS[fault]
    inject(bench)
    finding = bench.look()[what]
    assert finding.state == state and mend in finding.mend, finding
    do_mend(bench)
    found = bench.look()
    assert {finding.state for finding in found.values()} == {GOOD}, found


@pytest.mark.parametrize(
    ("lockdown", "signed", "state"),
    [
        ("none [integrity] confidentiality", "N", BAD),
        ("[none] integrity confidentiality", "Y", BAD),
        ("[none] integrity confidentiality", "N", GOOD),
        (None, "Y", BAD),
        (None, "N", UNKNOWN),
    ],
)
def test_a_kernel_that_wants_signed_modules(
    bench: Bench, lockdown: str | None, signed: str, state: str
) -> None:
    bench.remove("sys/kernel/security/lockdown")
    if lockdown is not None:
        bench.write("sys/kernel/security/lockdown", lockdown)
    bench.write("sys/module/module/parameters/sig_enforce", signed)
    # It was signed, then.
    assert bench.look()["lockdown"].state == GOOD
    bench.unload()
    finding = bench.look()["lockdown"]
    assert finding.state == state
    assert ("mokutil --import" in finding.mend) is (state == BAD)


def test_a_module_that_was_not_built_for_this_kernel(bench: Bench) -> None:
    bench.unload()
    bench.write(f"lib/modules/{_RELEASE}/modules.dep", "kernel/a/sparc2.ko:\n")
    assert "dkms autoinstall" in bench.look()["module"].mend


def test_without_systemd(bench: Bench) -> None:
    bench.remove("run/systemd/system/x")
    (bench.root / "run/systemd/system").rmdir()
    bench.reply = GuestError("no-service")
    assert bench.look()["service"].mend == "/etc/init.d/sparc-guestd start"


def test_what_a_user_cannot_find_out_is_not_wrong(bench: Bench) -> None:
    bench.guest.uid = 1000
    bench.reply = GuestError("denied")
    found = bench.look()
    assert found["service"].state == found["module's ABI"].state == UNKNOWN
    assert "sudo sparc doctor" in found["service"].mend
    assert status(found.values()) == 2


def test_the_abi_while_no_service_runs(bench: Bench) -> None:
    bench.reply = GuestError("no-service")
    assert bench.look()["module's ABI"].state == GOOD

    def refused() -> int:
        raise DeviceError("abi", f"{VERSION + 1}, not {VERSION}")

    bench.guest.open_device = refused
    finding = bench.look()["module's ABI"]
    assert finding.state == BAD and finding.says.startswith(f"{VERSION + 1},")


def test_swap_that_is_on_is_told_of(bench: Bench) -> None:
    _swapped("/dev/sda2 partition 9000 400 -2\n/swap\\040file file 9 0 -3\n")(bench)
    bench.write("sys/module/zswap/parameters/enabled", "Y\n")
    finding = bench.look()["swap"]
    assert finding.state == NOTE
    assert "/dev/sda2, /swap file, compressed in memory first (zswap)" in finding.says


def test_another_hypervisor(bench: Bench) -> None:
    bench.write("sys/class/dmi/id/product_name", "Standard PC (Q35 + ICH9, 2009)\n")
    assert bench.look()["mailbox"].state == NOTE


def test_the_kernels_own_default(bench: Bench) -> None:
    bench.write("sys/module/sparc/parameters/scrub", "0")
    bench.write(f"boot/config-{_RELEASE}", "CONFIG_INIT_ON_FREE_DEFAULT_ON=y\n")
    assert bench.look()["freed memory"].state == GOOD
    bench.write("proc/cmdline", "init_on_free=1 init_on_free=0")
    assert bench.look()["freed memory"].state == BAD


def test_statuses() -> None:
    assert status([]) == 0
    assert status([good("", ""), note("", "")]) == 0
    assert status([good("", ""), unknown("", "")]) == 2
    assert status([unknown("", ""), bad("", "", "")]) == 1


def test_the_command(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "Guest", lambda: bench.guest)

    def run(*args: str) -> tuple[int, str]:
        bench.guest._status = None
        code = command_module.command.main(["--guest", *args], standalone_mode=False)
        return int(code), capfd.readouterr().out

    code, out = run()
    assert code == 0 and out.count("ok     ") == 12 and "\x1b" not in out
    assert run("--quiet") == (0, "")
    _rules({"path": "/a\x1b[2J", "owner": 0, "key": "", "why": "is not TOML"})(bench)
    code, out = run("--quiet")
    assert code == 1 and out.startswith("WRONG  rules: /a\\x1b[2J: is not TOML\n       mend: edit")
    code, out = run("--json")
    told = json.loads(out)
    assert (code, told["status"], told["side"]) == (1, 1, "guest")
    (finding,) = [entry for entry in told["findings"] if entry["state"] == BAD]
    assert set(finding) == {"what", "state", "says", "mend"}
