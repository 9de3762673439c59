"""Which files decide what a kernel module becomes."""

from __future__ import annotations

from pathlib import Path

import pytest
from sparc_lab import Lab, Settings
from sparc_lab.errors import UsageError
from sparc_lab.modules import Target, module

_TARGET = Target("key", Path("/tree"), "/kernel/headers")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "Makefile").write_text("obj-m := thing.o\n")
    (tmp_path / "thing.c").write_text("int x;\n")
    (tmp_path / "include").mkdir()
    (tmp_path / "include/thing.h").write_text("extern int x;\n")
    return tmp_path


@pytest.mark.parametrize(
    "name", ["Makefile", "thing.c", "include/thing.h", "new.c", "new.S", "dkms.conf"]
)
def test_a_change_of_a_source_is_another_module(source: Path, name: str) -> None:
    before = module(source, _TARGET).key
    assert module(source, _TARGET).key == before
    with (source / name).open("a") as file:
        file.write("\n")
    assert module(source, _TARGET).key != before


@pytest.mark.parametrize(
    "name", ["README.md", "thing.o", "thing.ko", "thing.mod.c", ".thing.o.cmd", "Module.symvers"]
)
def test_notes_and_products_are_no_sources(source: Path, name: str) -> None:
    before = module(source, _TARGET).key
    (source / name).write_text("anything")
    assert module(source, _TARGET).key == before


def test_another_kernel_is_another_module(source: Path) -> None:
    other = Target("other", _TARGET.tree, _TARGET.headers)
    assert module(source, other).key != module(source, _TARGET).key


def test_a_file_that_took_over_anothers_end_is_another_module(source: Path) -> None:
    (source / "a.c").write_text("one")
    (source / "b.c").write_text("two")
    before = module(source, _TARGET).key
    (source / "a.c").write_text("onetwo")
    (source / "b.c").write_text("")
    assert module(source, _TARGET).key != before


def test_a_folder_without_a_makefile_is_no_module(source: Path) -> None:
    (source / "Makefile").unlink()
    with pytest.raises(UsageError, match="no Makefile"):
        module(source, _TARGET)


def test_the_build_folder_is_found_from_outside_its_tree(tmp_path: Path) -> None:
    assert _TARGET.folder == Path("/tree/kernel/headers")
    beside = Target("key", Path("/tree"), "/mnt/headers", beside=tmp_path)
    assert beside.folder == tmp_path / "headers"


def test_an_unknown_kernel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARC_LAB_HOME", str(tmp_path))
    with pytest.raises(UsageError, match=r"no kernel 'debian-5.10': lab, debian-6.1"):
        Lab().module_target("debian-5.10")
    with pytest.raises(UsageError, match="no kernel"):
        Settings("x", "qemu", kernel="debian-5.10")
    with pytest.raises(UsageError, match="under QEMU only"):
        Settings("x", "virtualbox", kernel="debian-6.1")
