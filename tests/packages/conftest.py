"""Debian trees in which packages are installed for real; what is done in them reaches nobody.

Guests, for what a tree cannot show, are in test_real_guest.py.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sparc_lab import trees
from sparc_lab.build import Builder, Progress
from sparc_lab.cache import Cache
from sparc_lab.debian import SUITES, kernel_tree
from sparc_lab.processes import run
from sparc_lab.sandbox import Sandbox

from tests.packages.tree import NEWER, Tree

_PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def debs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of this checkout in `now`, the same as a later version in `newer`.

    $SPARC_DEBS names a folder that has both already.
    """
    if os.geteuid() != 0:
        pytest.skip("packages are installed as root: sudo make test-packages")
    if made := os.environ.get("SPARC_DEBS"):
        return Path(made)
    folder = tmp_path_factory.mktemp("debs")
    package = str(_PROJECT / "tools/package")
    run([package, "deb", str(folder / "now")], timeout=3000)
    run([package, "deb", str(folder / "newer"), NEWER], timeout=3000)
    return folder


@pytest.fixture(scope="session")
def builder() -> Builder:
    """What makes the lab's trees, and mostly finds them made."""
    return Builder(Cache(), Progress())


@pytest.fixture(params=["bookworm", "sid"])
def clean(
    request: pytest.FixtureRequest, builder: Builder, debs: Path, tmp_path: Path
) -> Iterator[Tree]:
    """Debian 12 with nothing else, and sid with QEMU, which has no part in this."""
    entry = trees.tree_base() if request.param == "bookworm" else trees.qemu_tree()
    yield from _laid(builder.get(entry), debs, tmp_path)


@pytest.fixture(params=list(SUITES))
def with_kernel(
    request: pytest.FixtureRequest, builder: Builder, debs: Path, tmp_path: Path
) -> Iterator[Tree]:
    """A tree with the headers of one of Debian's kernels, its compiler and DKMS."""
    base = trees.tree_base()
    yield from _laid(
        builder.get(kernel_tree(request.param, base, builder.get(base))), debs, tmp_path
    )


@pytest.fixture
def with_virtualbox(builder: Builder, debs: Path, tmp_path: Path) -> Iterator[Tree]:
    """Sid with VirtualBox."""
    yield from _laid(builder.get(trees.virtualbox_tree()), debs, tmp_path)


def _laid(path: Path, debs: Path, home: Path) -> Iterator[Tree]:
    sandbox = Sandbox(home / "sandbox")
    sandbox.start({"tree": path}, owned=True)
    try:
        shutil.copytree(debs, sandbox.files / "debs")
        tree = Tree(sandbox)
        # Without manual pages it would not be what people have.
        tree.sh("rm -f /etc/dpkg/dpkg.cfg.d/90lab")
        tree.sh("apt-get update", timeout=600)
        yield tree
    finally:
        sandbox.end()
