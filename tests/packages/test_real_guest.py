"""The packages in guests that boot Debian's own kernels: what a person does, from the first
installation to the purge. DKMS compiles in the guest, by emulated instructions: minutes each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sparc_lab import Lab, QemuMachine, Settings

from tests.packages.packaged import Packaged
from tests.packages.tree import NEWER

pytestmark = pytest.mark.timeout(7200)

_OURS = ("sparc-common", "sparc-guest")
# What an excluded program and one outside have in their memory.
_SECRET, _HARMLESS = 73, 91


@pytest.fixture
def guest(lab: Lab, request: pytest.FixtureRequest, debs: Path) -> Iterator[Packaged]:
    """The Debian of the kernel that the test names, with all that it takes to build modules."""
    settings = Settings("whole", "qemu", memory=1024, cpus=2, kernel=str(request.param))
    machine = lab.up(settings, whole=True)
    try:
        assert isinstance(machine, QemuMachine)
        yield Packaged(machine, debs)
    finally:
        lab.down(settings.name)


@pytest.mark.parametrize("guest", ["debian-6.1"], indirect=True)
def test_upgrade_while_programs_are_excluded(guest: Packaged) -> None:
    """Debian 12."""
    guest.ok("useradd member")
    before = guest.contents()
    guest.install("now", *_OURS)
    now = guest.loaded()
    guest.is_healthy()

    guest.set_up()
    guest.ok("adduser member sparc")
    secret, harmless = guest.holder(_SECRET), guest.holder(_HARMLESS)
    guest.ok(f"sparc exclude {secret}")
    own = guest.start("su member -c 'exec sleep 1005'")
    guest.ok("until_true 'pgrep -u member -x sleep'")
    own = int(guest.ok("pgrep -u member -x sleep"))
    assert guest.ok(f"su member -c 'sparc exclude {own}'") == f"{own} sleep: excluded"
    ruled = guest.start("tail -f /dev/null")
    guest.ok(f"until_true 'sparc list | grep -q ^{ruled}'")
    assert guest.excluded() == {secret, own, ruled}
    guest.keeps_out(_SECRET, _HARMLESS)

    files = "cat /etc/sparc/exclude.d/tail.toml /etc/default/sparc-guestd"
    kept, service = guest.ok(files), guest.json("sparc status --json")["pid"]
    said = guest.install("newer", *_OURS)
    assert "programs are excluded, so the module of before stays" in said
    assert guest.ok("sparc --version").split()[-1] == NEWER
    assert (guest.ok(files), guest.loaded()) == (kept, now)
    assert guest.json("sparc status --json")["pid"] != service
    assert guest.excluded() == {secret, own, ruled}
    guest.keeps_out(_SECRET, _HARMLESS)
    assert guest.findings() == {}
    guest.restore()
    guest.ok(f"until_true '! kill -0 {secret}'")
    assert [guest.lives(pid) for pid in (own, ruled, harmless)] == [False, False, True]
    # What the doctor advises, and installing.md.
    guest.ok(guest.advice("module").split("; or, if no program is excluded: ")[1])
    assert guest.loaded() == NEWER
    guest.is_healthy()
    guest.boot()
    assert guest.loaded() == NEWER
    guest.is_healthy()
    ruled = guest.start("tail -f /dev/null")
    guest.ok(f"until_true 'sparc list | grep -q ^{ruled}'; kill {ruled}")

    guest.apt("purge -y sparc-guest sparc-common")
    assert guest.sh("ls -d /sys/module/sparc /dev/sparc /run/sparc").text == ""
    assert guest.contents() == before
    assert guest.ok("systemctl --failed --quiet; systemctl list-unit-files sparc\\* --quiet") == ""
    assert "member" in guest.ok("getent group sparc")


@pytest.mark.parametrize("guest", ["debian-7.2"], indirect=True)
def test_upgrade_of_a_guest_that_is_a_host_too_and_removal_while_excluded(guest: Packaged) -> None:
    """Debian sid."""
    before = guest.contents()
    headers = f"/lib/modules/{guest.release}/build"
    guest.ok(f"mv {headers} {headers}.away")
    said = guest.install("now", *_OURS, "sparc-host")
    assert f"apt install linux-headers-{guest.release} && modprobe sparc" in said
    guest.ok(f"mv {headers}.away {headers}")
    advice = guest.advice("module")
    assert advice.startswith("with the kernel's headers")
    guest.long(advice.split(": ")[1].removesuffix("; from a checkout"))
    now = guest.loaded()
    guest.is_healthy()
    guest.set_up()

    # Root's service of the host, beside the guest's.
    guest.ok("systemd-run --quiet --unit journal sparc-hostd")
    guest.ok("until_true '[ -S /run/sparc-host/hostd.sock ]'; systemctl restart sparc-guestd")
    modes = guest.ok("stat -c %a /run/sparc /run/sparc-host; systemctl is-active journal")
    assert modes == "755\n700\nactive"
    guest.is_healthy()
    # There is no VirtualBox here; the rest of the host is as it must be.
    wrong = guest.findings("--host")
    assert "VirtualBox" in wrong and "sockets" not in wrong

    guest.install("newer", *_OURS, "sparc-host")
    assert guest.loaded() == NEWER != now
    guest.is_healthy()
    secret, harmless = guest.holder(_SECRET), guest.holder(_HARMLESS)
    guest.ok(f"sparc exclude {secret}")
    guest.keeps_out(_SECRET, _HARMLESS)

    guest.ok("systemctl stop journal")
    guest.apt("purge -y sparc-host")
    assert guest.sh("ls -d /run/sparc-host").text == ""
    guest.is_healthy()
    assert guest.excluded() == {secret}

    said = guest.apt("purge -y sparc-guest sparc-common")
    assert "programs are excluded and stay so" in said
    assert guest.contents() == before
    assert guest.lives(secret)
    guest.ok(f"kill {secret}; until_true 'rmmod sparc'")
    assert guest.sh("ls -d /dev/sparc").text == ""
    assert guest.lives(harmless)
