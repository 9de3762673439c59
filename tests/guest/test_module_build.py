"""The kernel module built for each kernel: no warning, no unknown symbol, clean to checkers."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path

import pytest
from sparc_lab import Lab, LabError
from sparc_lab.modules import Target

_PROJECT = Path(__file__).parents[2]
_KMOD = _PROJECT / "kmod"
# What checkpatch holds against modules in general: those outside the kernel's tree have to look at
# its version, and its macro is taken for a constant on the wrong side.
_NOT_FOR_MODULES = ("LINUX_VERSION_CODE", "CONSTANT_COMPARISON")
_CHECKPATCH = f"""
cd /build/source
perl "$1/scripts/checkpatch.pl" --no-tree --strict --terse --show-types \\
  --ignore {",".join(_NOT_FOR_MODULES)} -f *.c *.h || true
"""
_SPARSE = "make -s -C $1 M=/build/source C=2 CHECK=sparse modules"

Run = Callable[[Target, str], str]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with a copy of the module's sources in ``source``."""
    shutil.copytree(_KMOD, tmp_path / "source", ignore=shutil.ignore_patterns("*.o", ".*", "*.ko"))
    return tmp_path


@pytest.fixture
def run(work: Path) -> Run:
    """Runs a script where a kernel's modules are built, over ``work``; what it printed."""

    def run(target: Target, script: str) -> str:
        log = work / "log"
        log.write_text("")
        target.run(work, script, log)
        return log.read_text()

    return run


@pytest.mark.every_kernel
def test_it_builds_without_a_warning_and_says_what_it_is(lab: Lab, kernel: str) -> None:
    said = _modinfo(lab.build_module(_KMOD, kernel))
    assert said["license"] == "GPL"
    assert said["name"] == "sparc"
    assert said["version"] == _version()
    assert said["vermagic"].split()[0] == lab.module_target(kernel).release


def test_a_warning_fails_the_build(lab: Lab, work: Path) -> None:
    with (work / "source/main.c").open("a") as file:
        file.write("\nstatic int nobody_calls_this(void) { return 0; }\n")
    with pytest.raises(LabError, match="nobody_calls_this"):
        lab.build_module(work / "source")


@pytest.mark.every_kernel
def test_every_symbol_it_needs_is_exported(lab: Lab, kernel: str) -> None:
    listed = (lab.module_target(kernel).folder / "Module.symvers").read_text().splitlines()
    exported = {line.split("\t")[1] for line in listed}
    module = lab.build_module(_KMOD, kernel)
    needed = set(_output("nm", "--undefined-only", "--format=just-symbols", str(module)).split())
    assert needed
    assert needed <= exported


def test_checkpatch_has_nothing_to_say(lab: Lab, run: Run) -> None:
    assert _complaints(run(lab.module_target("lab"), _CHECKPATCH)) == []


def test_checkpatch_would_see_a_line_in_another_style(lab: Lab, run: Run, work: Path) -> None:
    with (work / "source/main.c").open("a") as file:
        file.write("\nint  odd( void )\n{\n  return 0;\n}\n")
    assert _complaints(run(lab.module_target("lab"), _CHECKPATCH)) != []


def test_sparse_has_nothing_to_say(lab: Lab, run: Run) -> None:
    # The one kernel whose packaged headers come with all that `make C=2` asks for.
    said = run(lab.module_target("debian-6.1"), _SPARSE)
    assert re.findall(r".*(?:warning|error):.*", said) == []


def test_sparse_would_see_a_pointer_from_user_space(lab: Lab, run: Run, work: Path) -> None:
    with (work / "source/main.c").open("a") as file:
        file.write("\nint peek(int __user *p);\nint peek(int __user *p)\n{\n\treturn *p;\n}\n")
    said = run(lab.module_target("debian-6.1"), _SPARSE)
    assert "dereference of noderef expression" in said


@pytest.mark.parametrize("kernel", ["debian-6.1", "debian-7.2"])
def test_dkms_builds_it(lab: Lab, run: Run, work: Path, kernel: str) -> None:
    target = lab.module_target(kernel)
    script = f"""
        set -e
        mount -t tmpfs dkms /var/lib/dkms
        mkdir /build/dkms /build/src
        mv /build/source /build/src/sparc-{_version()}
        dkms build --dkmstree /build/dkms --sourcetree /build/src --kernelsourcedir "$1" \\
          -m sparc -v {_version()} -k {target.release}
    """
    run(target, script)
    (built,) = (work / "dkms").glob("sparc/*/*/*/module/sparc.ko*")
    assert built.stat().st_size > 0


def _version() -> str:
    """The project's."""
    setup = ConfigParser()
    setup.read(_PROJECT / "setup.cfg")
    return setup["metadata"]["version"]


def _modinfo(module: Path) -> dict[str, str]:
    """What a module's ``.modinfo`` section says, the last of each name."""
    section = ".modinfo=/dev/stdout"
    text = _output("objcopy", "--dump-section", section, str(module), "/dev/null")
    return dict(pair.split("=", 1) for pair in text.split("\0") if pair)


def _complaints(said: str) -> list[str]:
    """What checkpatch complains of, without its summaries."""
    return [line for line in said.splitlines() if re.match(r"\S+:\d+: ", line)]


def _output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
