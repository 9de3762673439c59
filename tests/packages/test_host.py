"""The host's package, with VirtualBox and without, and the image for guests that it writes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.packages.tree import NEWER, Tree

_DATA = Path(__file__).parents[1] / "unit/data"
_OURS = ("sparc-common", "sparc-host")
_PACKS = "VBoxManage list extpacks"


def test_it_reads_saved_states_and_nothing_stays(clean: Tree) -> None:
    clean.install_what_they_need(*_OURS)
    before = clean.contents()

    assert "when it is installed" in clean.install(*_OURS)
    sample = clean.files / "plain.sav"
    sample.write_bytes((_DATA / "plain.sav").read_bytes())
    info = json.loads(clean.sh(f"sparc sav info --json {sample}"))
    assert (info["virtualbox"], info["checksums"]) == ("7.2.22", "good")
    # The built-in libraries: the search, the decompressors.
    clean.sh(f"echo 'no such thing anywhere' | sparc audit {sample}")
    assert clean.fails(f"sparc report {sample} --html {clean.files}/page.html")[0] == 1
    assert "NOT CLEAN" in (clean.files / "page.html").read_text()
    clean.sh(
        "HOME=/tmp/nobody sparc-hostd </dev/null & sleep 2; kill $! 2>/dev/null; rm -rf /tmp/nobody"
    )
    wants = "/etc/systemd/user/default.target.wants/sparc-hostd.service"
    clean.sh(f"test -e {wants}")
    assert clean.fails("sparc host install")[0] == 2

    clean.install(*_OURS, version="newer")
    assert clean.sh("sparc --version").split()[-1] == NEWER
    clean.sh("apt-get remove -y sparc-host sparc-common")
    assert clean.left(before) <= {
        wants,
        str(Path(wants).parent),
        "/etc/systemd/user",
    }
    clean.sh("apt-get purge -y sparc-host sparc-common")
    assert clean.contents() == before


def test_one_machine_may_be_guest_and_host(clean: Tree) -> None:
    """Whichever of the two goes first."""
    both = (*_OURS, "sparc-guest")
    clean.install_what_they_need(*both)
    before = clean.contents()
    sample = clean.files / "plain.sav"
    sample.write_bytes((_DATA / "plain.sav").read_bytes())

    def guest_works() -> None:
        assert clean.fails("sparc doctor --guest")[0] == 1
        assert "modprobe sparc" in clean.fails("sparc exclude 1")[1]
        clean.sh("sparc-guestd --help; ls /usr/lib/udev/rules.d/60-sparc.rules; dkms status sparc")

    def host_works() -> None:
        assert "VirtualBox" in clean.fails("sparc doctor --host")[1]
        assert "checksums" in clean.sh(f"sparc sav info --json {sample}")

    for first, last, works in (("guest", "host", host_works), ("host", "guest", guest_works)):
        clean.install(*both)
        guest_works()
        host_works()
        clean.sh(f"apt-get purge -y sparc-{first}")
        works()
        clean.sh(f"apt-get purge -y sparc-{last} sparc-common")
        assert clean.contents() == before


def test_the_pack_comes_and_goes_with_the_package(with_virtualbox: Tree) -> None:
    with_virtualbox.install_what_they_need(*_OURS)
    with_virtualbox.sh("rm -rf /root/.config/VirtualBox")
    before = with_virtualbox.contents()

    with_virtualbox.install(*_OURS)
    settings = with_virtualbox.sh("ls -A /tmp; ls -A /root/.config 2>/dev/null || true")
    assert "VirtualBox" not in settings and "vbox-sparc" not in settings
    asked = f"/usr/lib/sparc/with-own-settings {_PACKS}"
    said = with_virtualbox.sh(asked)
    assert "Sparc" in said and "Usable:         true" in said
    with_virtualbox.install(*_OURS, version="newer")
    assert NEWER in with_virtualbox.sh(asked)
    with_virtualbox.sh("apt-get purge -y sparc-host sparc-common")
    assert with_virtualbox.contents() == before


def test_the_image_installs_the_guest(clean: Tree) -> None:
    clean.install(*_OURS)
    clean.sh("apt-get install -y --no-install-recommends xorriso", timeout=600)
    image = clean.files / "guest.iso"
    clean.sh(f"sparc host guest-iso {image}; sparc host guest-iso {image}")
    assert image.stat().st_size < 4 << 20
    content = clean.files / "content"
    clean.sh(f"xorriso -osirrox on -indev {image} -extract / {content} 2>/dev/null")
    clean.sh("apt-get purge -y sparc-host sparc-common python3-click")
    status, said = clean.fails(f"sh {content}/install")
    assert status == 2 and ("make" in said or "headers" in said), said
