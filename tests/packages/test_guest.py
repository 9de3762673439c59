"""The guest's package: what it brings, what an upgrade changes, and what a removal leaves."""

from __future__ import annotations

import configparser
from pathlib import Path

from sparc_lab.processes import run

from tests.packages.tree import NEWER, Tree

_PROJECT = Path(__file__).parents[2]
_OURS = ("sparc-common", "sparc-guest")
_COMPLETED = r"""
bash -c '
  . /usr/share/bash-completion/completions/sparc
  COMP_WORDS=(sparc e) COMP_CWORD=1
  _sparc_completion sparc
  printf "%s\n" "${COMPREPLY[@]}"
'
"""


def _version() -> str:
    config = configparser.ConfigParser()
    config.read(_PROJECT / "setup.cfg")
    return config["metadata"]["version"]


def test_what_it_brings_and_that_nothing_stays(clean: Tree) -> None:
    clean.install_what_they_need(*_OURS)
    clean.sh("apt-get install -y --no-install-recommends fish man-db zsh", timeout=1800)
    before = clean.contents()

    clean.install(*_OURS)
    assert clean.sh("sparc --version").split()[-1] == _version()
    assert "Keeps excluded processes out" in clean.sh("sparc-guestd --help")
    assert clean.sh("getent group sparc").startswith("sparc:")
    assert clean.fails("sparc list")[0] == 2
    assert "is not installed on this machine" in clean.fails("sparc sav info /etc/passwd")[1]
    wants = "/etc/systemd/system/multi-user.target.wants/sparc-guestd.service"
    clean.sh(f"test -e {wants} && ls /etc/rc2.d | grep sparc-guestd")
    clean.sh("ls /usr/lib/udev/rules.d/60-sparc.rules /usr/src/sparc-*/dkms.conf")
    assert "sparc" in clean.sh("dkms status")

    assert clean.sh(_COMPLETED).split() == ["exclude"]
    assert "exclude" in clean.sh("HOME=/tmp fish -c 'complete -C \"sparc e\"'")
    clean.sh("zsh -n /usr/share/zsh/vendor-completions/_sparc")
    assert "out of checkpoints" in clean.sh("MANPAGER=cat man sparc-exclude")
    assert "SPARC_FREEZE_SECONDS" in clean.sh("MANPAGER=cat man 8 sparc-guestd")

    clean.install(*_OURS, version="newer")
    assert clean.sh("sparc --version").split()[-1] == NEWER
    assert clean.sh("ls -d /usr/src/sparc-*").split() == [f"/usr/src/sparc-{NEWER}"]
    assert clean.sh("ls /var/lib/dkms/sparc").split() == [NEWER]
    clean.sh("sparc status || [ $? = 2 ]")

    clean.sh("apt-get remove -y sparc-guest sparc-common")
    assert clean.left(before) <= {
        "/etc/init.d/sparc-guestd",
        *(f"/etc/rc{level}.d" for level in "0123456S"),
        *(f"/etc/rc{level}.d/{k}01sparc-guestd" for level in "0123456" for k in "KS"),
        wants,
    }
    clean.sh("apt-get purge -y sparc-guest sparc-common")
    assert clean.contents() == before
    assert clean.sh("getent group sparc").startswith("sparc:")


def test_dkms_builds_the_module_and_forgets_it(with_kernel: Tree) -> None:
    release = with_kernel.sh("cat /kernel/release").strip()
    module = f"/lib/modules/{release}/updates/dkms/sparc.ko*"
    with_kernel.install_what_they_need(*_OURS)
    with_kernel.sh("apt-get install -y openssl", timeout=600)
    before = with_kernel.contents()

    with_kernel.install(*_OURS)
    assert f"{_version()}, {release}, x86_64: installed" in with_kernel.sh("dkms status")
    assert f"vermagic:       {release} " in with_kernel.sh(f"modinfo {module}")
    # As is told for where openssl came too late.
    with_kernel.sh("rm -f /var/lib/dkms/mok.*")
    with_kernel.sh("dpkg-reconfigure sparc-guest && test -e /var/lib/dkms/mok.pub", timeout=1800)
    assert with_kernel.sh(f"modinfo -F signer {module}") == "DKMS module signing key\n"
    assert with_kernel.sh(f"modinfo -F version {module}") == f"{_version()}\n"
    with_kernel.install(*_OURS, version="newer")
    said = with_kernel.sh("dkms status -m sparc")
    assert f"{NEWER}, {release}, x86_64: installed" in said and _version() not in said
    with_kernel.sh("apt-get purge -y sparc-guest sparc-common")
    assert with_kernel.contents() == before


def test_from_a_checkout_with_dkms_and_without(with_kernel: Tree) -> None:
    release = with_kernel.sh("cat /kernel/release").strip()
    with_kernel.install_what_they_need(*_OURS)
    _copy_checkout(with_kernel)
    setup = f"cd {with_kernel.files}/checkout && python3 -B -m sparc.cli guest"
    with_kernel.sh("groupadd --system sparc")
    before = with_kernel.contents()

    said = with_kernel.sh(f"{setup} install --kernel {release}", timeout=1800)
    assert "by DKMS" in said and "nothing was started" in said
    assert f"{release}, x86_64: installed" in with_kernel.sh("dkms status -m sparc")
    assert with_kernel.sh("sparc --version").split()[-1] == _version()
    with_kernel.sh("test -x /etc/init.d/sparc-guestd && sparc-guestd --help")
    # The package's would be hidden behind these.
    files = " ".join(f"{with_kernel.files}/debs/now/{name}_*.deb" for name in _OURS)
    assert "sparc guest uninstall" in with_kernel.fails(f"dpkg -i {files}")[1]
    with_kernel.sh("dpkg --purge sparc-guest sparc-common")
    # With what was installed alone: the checkout may be gone by then.
    with_kernel.sh("sparc guest uninstall")
    assert with_kernel.contents() == before

    with_kernel.sh("mv /usr/sbin/dkms /root/dkms")
    said = with_kernel.sh(f"{setup} install --kernel {release}", timeout=1800)
    assert "alone" in said
    with_kernel.sh(f"modinfo /lib/modules/{release}/updates/sparc.ko")
    with_kernel.sh("sparc guest uninstall; mv /root/dkms /usr/sbin/dkms")
    assert with_kernel.contents() == before


def test_what_is_missing_is_named(clean: Tree) -> None:
    clean.sh("apt-get install -y --no-install-recommends python3 python3-click", timeout=600)
    _copy_checkout(clean)
    setup = f"cd {clean.files}/checkout && python3 -B -m sparc.cli guest install"
    status, said = clean.fails(setup)
    assert status == 2 and "apt install make gcc" in said
    clean.sh("apt-get install -y --no-install-recommends make gcc", timeout=600)
    status, said = clean.fails(setup)
    assert status == 2 and "apt install linux-headers-" in said
    status, said = clean.fails(f"setpriv --reuid 65534 --clear-groups sh -c '{setup}'")
    assert status == 2 and "root" in said


def _copy_checkout(tree: Tree) -> None:
    target = tree.files / "checkout"
    target.mkdir()
    listed = ["git", "-C", str(_PROJECT), "ls-files", "-co", "--exclude-standard"]
    names = [name for name in run(listed).splitlines() if not name.startswith("tests/")]
    run(["tar", "-C", str(_PROJECT), "-cf", str(target / "all.tar"), *names])
    run(["tar", "-C", str(target), "--no-same-owner", "-xf", str(target / "all.tar")])
