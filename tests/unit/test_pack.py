"""What `make -C host_service/extpack` makes, looked at from outside."""

from __future__ import annotations

import configparser
import hashlib
import re
import subprocess
import tarfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

PACK = Path(__file__).parents[2] / "host_service/extpack"
ENTRIES = {"SparcMain": "VBoxExtPackRegister", "SparcVM": "VBoxExtPackVMRegister"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack, built afresh, and unpacked there."""
    out = tmp_path_factory.mktemp("pack")
    subprocess.run(["make", "-s", "-C", PACK, f"OUT={out}"], check=True)
    with tarfile.open(out / "Sparc.vbox-extpack") as archive:
        for member in archive:
            assert (member.uid, member.gid) == (0, 0)
            executable = member.isdir() or member.name.endswith(".so")
            assert member.mode == (0o755 if executable else 0o644), member.name
        archive.extractall(out / "unpacked", filter="data")
    return out / "unpacked"


def symbols(library: Path, *options: str) -> set[str]:
    done = subprocess.run(
        ["nm", "-D", *options, library], capture_output=True, text=True, check=True
    )
    return {line.split()[-1].split("@")[0] for line in done.stdout.splitlines()}


def test_virtualbox_finds_all_files_as_they_are_listed(folder: Path) -> None:
    listed = dict(
        re.findall(
            r"^SHA256 \((.+)\) = ([0-9a-f]{64})$", (folder / "ExtPack.manifest").read_text(), re.M
        )
    )
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert set(listed) == files - {"ExtPack.manifest", "ExtPack.signature"}
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_the_pack_is_of_this_version(folder: Path) -> None:
    root = ElementTree.parse(folder / "ExtPack.xml").getroot()
    space = root.tag.partition("}")[0] + "}"
    setup = configparser.ConfigParser()
    setup.read(PACK.parents[1] / "setup.cfg")
    assert root.findtext(f"{space}Version") == setup["metadata"]["version"]


@pytest.mark.parametrize("module", ENTRIES)
def test_a_module_shows_its_entry_alone_and_needs_only_libc(folder: Path, module: str) -> None:
    library = folder / f"linux.amd64/{module}.so"
    assert symbols(library, "--defined-only") == {ENTRIES[module]}
    foreign = {
        name for name in symbols(library, "--undefined-only") if name.startswith(("RT", "VM"))
    }
    assert not foreign, "functions of VirtualBox are found by name, at run time"


@pytest.mark.parametrize("module", ENTRIES)
def test_it_is_hardened(folder: Path, module: str) -> None:
    library = folder / "linux.amd64" / f"{module}.so"
    done = subprocess.run(["readelf", "-ldW", library], capture_output=True, text=True, check=True)
    assert "GNU_RELRO" in done.stdout and "BIND_NOW" in done.stdout
    stack = next(line for line in done.stdout.splitlines() if "GNU_STACK" in line)
    assert stack.split()[-2] == "RW"
    if module == "SparcVM":
        assert {"__stack_chk_fail", "__snprintf_chk"} <= symbols(library, "--undefined-only")
