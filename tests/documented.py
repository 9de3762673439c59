"""The command lines that pages show, made into such that can be run, and where each is run.

In them A | B are several, [A] may be left out, A... may be repeated, and words in capitals stand
for something; what follows a # is said of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

__all__ = ["ELSEWHERE", "GUEST", "HERE", "HOST", "NOT_RUN", "PAGES", "commands", "run_in", "shown"]

_PROJECT = Path(__file__).parents[1]
_COMMAND = re.compile(
    r" {4}(?! )((?:sudo )?(?:sparc|make|apt|pip|adduser|mount|sh|systemctl|VBoxManage|python3 -m)"
    r" .*)"
)
_WORD = re.compile(r"\$?\b[A-Z]+[A-Z0-9]*\b")

GUEST, HOST = "tests/guest/test_docs.py", "tests/e2e/test_docs.py"
HERE = {
    "docs/start.md": HOST,
    "docs/guest.md": GUEST,
    "docs/host.md": HOST,
    "docs/saved-states.md": HOST,
}
"""The pages whose lines are run one after the other, and by which test."""
PAGES = ("README.md", *HERE, "docs/installing.md", "docs/troubleshooting.md")
"""Those of users."""

_BUILT, _TREE = "tests/packages/conftest.py", "tests/packages/tree.py"
_DIST, _CLI = "tests/packages/test_dist.py", "tests/e2e/test_host_cli.py"
_IN_GUEST, _ON_HOST = "tests/packages/test_guest.py", "tests/packages/test_host.py"
_WATCH = "tests/e2e/test_watch.py"
ELSEWHERE = {
    "sudo make test": (".ci/run", "make test"),
    "sudo make deb": (_BUILT, "tools/package"),
    "make dist": (_DIST, '"dist"'),
    "sudo apt install ./dist/sparc-common_*.deb ./dist/sparc-host_*.deb": (
        _TREE,
        "apt-get install",
    ),
    "sudo apt install ./sparc-common_*.deb ./sparc-host_*.deb": (_TREE, "apt-get install"),
    "sudo apt install ./sparc-common_*.deb ./sparc-guest_*.deb": (_TREE, "apt-get install"),
    "sudo apt install linux-headers-amd64 ./sparc-common_*.deb ./sparc-guest_*.deb": (
        _IN_GUEST,
        "with_kernel.install(*_OURS)",
    ),
    "sudo apt purge sparc-guest sparc-common": (_IN_GUEST, "purge -y sparc-guest sparc-common"),
    "sudo apt purge sparc-host sparc-common": (_ON_HOST, "purge -y sparc-host sparc-common"),
    "sudo apt install linux-headers-$(uname -r) && sudo modprobe sparc": (
        "tests/packages/test_real_guest.py",
        "&& modprobe sparc",
    ),
    "sudo python3 -m sparc.cli guest install": (_IN_GUEST, "-m sparc.cli guest"),
    "sudo sparc guest uninstall": (_IN_GUEST, "sparc guest uninstall"),
    "sparc host guest-iso sparc.iso": (_ON_HOST, "sparc host guest-iso"),
    "sudo sh /mnt/install": (_ON_HOST, "/install"),
    "python3 -m venv --system-site-packages ~/.local/share/sparc": (_DIST, '"-m", "venv"'),
    "sparc host install": (_CLI, '"host", "install"'),
    "sparc host uninstall": (_CLI, '"host", "uninstall"'),
    # What the unit starts; the lab's host has no systemd.
    "systemctl --user start sparc-hostd": (_CLI, '"sparc-hostd"'),
    "sudo adduser $USER sparc": (GUEST, "adduser"),
    "sudo adduser USER sparc": (GUEST, "adduser"),
    "sudo systemctl stop sparc-guestd && sudo rmmod sparc && sudo systemctl start sparc-guestd": (
        GUEST,
        "rmmod",
    ),
    "sudo apt install python3-bpfcc linux-headers-amd64": ("tools/prepare", "python3-bpfcc"),
    # They need bcc.
    "sudo sparc watch [VM]": (_WATCH, '"watch", name'),
    "sudo sparc watch": (_WATCH, "Watch(None"),
    "sudo sparc watch VM --verify -n 1": (_WATCH, '"--verify", "-n", "1"'),
    "sudo sparc watch --json": (_WATCH, '"--json"'),
    "sparc audit 'archive/**/*.sav' --secret-file F --scheduler tls://HOST:8786": (
        "tests/unit/test_cluster.py",
        "tls://",
    ),
}
"""Lines that another test runs, with what stands in it for them."""
NOT_RUN = {
    "sudo make demo": "a test of its own: it fails if anything is left where nothing may be",
    "VBoxManage storageattach VM --storagectl IDE --port 1 --device 0 --type dvddrive"
    " --medium sparc.iso": "a command of VirtualBox's",
    "sudo mount /dev/cdrom /mnt": "the lab's guest has no such drive",
}
"""And why."""


def shown(page: str) -> list[str]:
    """The lines of a page's blocks that are commands, in its order."""
    text = (_PROJECT / page).read_text()
    found = [_COMMAND.fullmatch(line) for line in text.splitlines()]
    return [re.split(r"\s#(?:\s|$)", match[1])[0].rstrip() for match in found if match]


def run_in(test: str) -> list[tuple[str, str]]:
    """The pages and lines that this test has to run. What the README alone has is the host's."""
    pages = {page: shown(page) for page in HERE}
    told = {line for lines in pages.values() for line in lines}
    found = [(page, line) for page, lines in pages.items() if HERE[page] == test for line in lines]
    if test == HOST:
        found += [("README.md", line) for line in shown("README.md") if line not in told]
    return [(page, line) for page, line in found if line not in {*ELSEWHERE, *NOT_RUN}]


def commands(line: str, words: Mapping[str, str]) -> list[str]:
    """What such a line stands for: each of several, without what may be left out and with it.

    `words` are put for those in capitals; KeyError for one that is not among them.
    """
    first, *more = line.replace("sudo ", "").replace("...", "").split(" | ")
    each = [first, *(f"sparc {one}" for one in more)]
    spelt = [re.sub(r"\s*\[[^]]*\]", "", one) for one in each]
    spelt += [one.replace("[", "").replace("]", "") for one in each if "[" in one]
    return [_WORD.sub(lambda word: words[word[0]], one).strip() for one in spelt]
