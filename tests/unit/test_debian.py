"""Debian's packages: each part of the program is in one of them, and all have one version."""

from __future__ import annotations

import configparser
import re
import shutil
from collections.abc import Iterator
from email import message_from_string
from pathlib import Path

from sparc_lab.processes import run

_PROJECT = Path(__file__).parents[2]
_PARTS = ("sparc", "guest_service", "host_service")


def _packaged() -> set[Path]:
    """The files of the program that are installed where Python looks for it."""
    found: set[Path] = set()
    for listed in (_PROJECT / "debian").glob("*.install"):
        for line in listed.read_text().splitlines():
            pattern, _, target = line.partition(" ")
            if not target.startswith("usr/share/sparc"):
                continue
            for path in _PROJECT.glob(pattern):
                assert target == f"usr/share/{Path('sparc', pattern).parent}".rstrip("/"), line
                found |= set(path.rglob("*")) if path.is_dir() else {path}
    return found


def test_no_module_is_left_out() -> None:
    wanted = {
        path
        for part in _PARTS
        for kind in ("*.py", "*.css", "*.bpf.c")
        for path in (_PROJECT / part).rglob(kind)
    }
    assert len(wanted) > 100
    assert sorted(map(str, wanted - _packaged())) == []


# Where the version stands.
_VERSIONS = {
    "setup.cfg": r"^version = (.*)$",
    "kmod/dkms.conf": r'^PACKAGE_VERSION="(.*)"$',
    "host_service/extpack/ExtPack.xml": r"<Version[^>]*>(.*)</Version>",
    "debian/changelog": r"\A\S+ \((.*)\)",
}


def _versions(folder: Path) -> set[str]:
    return {
        version
        for name, pattern in _VERSIONS.items()
        for version in re.findall(pattern, (folder / name).read_text(), re.M) or [f"none in {name}"]
    }


def test_the_version_is_the_same_everywhere(tmp_path: Path) -> None:
    (now,) = _versions(_PROJECT)
    for name in _VERSIONS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_PROJECT / name, tmp_path / name)
    assert _versions(tmp_path) == {now}
    run([str(_PROJECT / "tools/set_version"), "9.8.7", str(tmp_path)])
    assert _versions(tmp_path) == {"9.8.7"}


def _relations() -> Iterator[tuple[str, str]]:
    """What the packages need of others, or would like: its name, the oldest version or ""."""
    for paragraph in (_PROJECT / "debian/control").read_text().split("\n\n"):
        fields = message_from_string(paragraph)
        for field in ("Build-Depends", "Depends", "Recommends", "Suggests"):
            for relation in re.split(r"[,|]", fields.get(field, "")):
                if found := re.match(
                    r"\s*([a-z][\w.+-]+)[:\w]*(?: \(>= (?:\d+:)?(.*)\))?", relation
                ):
                    yield found[1], found[2] or ""


def test_each_package_that_is_needed_has_its_why_and_its_version_is_the_one_that_was_tried() -> (
    None
):
    told = (_PROJECT / "docs/dependencies.md").read_text()
    config = configparser.ConfigParser()
    config.read(_PROJECT / "setup.cfg")
    options = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    tried = dict(re.findall(r"^([\w-]+) >= (.*)$", "\n".join(options), re.M))
    ours = re.compile(r"sparc-|python3$|debhelper-compat|dh-sequence-")
    relations = [found for found in _relations() if not ours.match(found[0])]
    assert len(relations) > 12
    for package, oldest in relations:
        name = package.removeprefix("python3-")
        assert re.search(rf"(^\| |, |; |and ){re.escape(name)}\b", told, re.M) or package in told, (
            name
        )
        assert oldest in ("", tried.get(name)), package
