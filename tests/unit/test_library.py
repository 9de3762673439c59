"""`import sparc`: its examples, its types, and that the command does not pay for it."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from samples import DATA, write_state

import sparc
from sparc.errors import NotReadable, SecretsError
from tools.bench.savwriter import PAGE

# Those of the others need a machine: tests/e2e/test_library.py.
WITHOUT_A_MACHINE = ("audit_file", "audit_files")


@pytest.mark.parametrize("name", [None, *WITHOUT_A_MACHINE])
def test_the_examples_are_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    write_state(tmp_path / "before.sav", {5: b"...hunter2!".ljust(PAGE, b"\0")})
    monkeypatch.chdir(tmp_path)
    subject = getattr(sparc, name) if name else sparc
    (example,) = doctest.DocTestFinder(recurse=False).find(subject, name or "sparc", globs={})
    assert example.examples
    assert doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF).run(example).failed == 0


def test_every_name_is_there_and_documented() -> None:
    listed = {name for names in sparc._HOME.values() for name in names}
    assert sorted(sparc.__all__) == sorted(listed) and listed <= set(dir(sparc))
    pytest.importorskip("distributed", reason="Tls needs Dask: pip install sparc[cluster]")
    for name in sparc.__all__:
        assert isinstance(getattr(sparc, name), int) or getattr(sparc, name).__doc__
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        sparc.nothing_of_that_name  # noqa: B018


def test_the_command_does_not_load_it() -> None:
    program = """
        import sys
        sys.path.insert(0, sys.argv[1])
        import sparc
        print([name for name in sys.modules if name.startswith(("sparc.", "host_", "typing"))])
    """
    checkout = Path(__file__).parents[2]
    argv = [sys.executable, "-IS", "-c", textwrap.dedent(program), str(checkout)]
    assert subprocess.run(argv, capture_output=True, check=True).stdout == b"[]\n"


def test_errors_are_not_worded() -> None:
    with pytest.raises(SecretsError):
        sparc.audit_file(DATA / "plain.sav", ["abc"])
    with pytest.raises(SecretsError):
        sparc.audit_files([DATA / "plain.sav"], [])
    with pytest.raises(NotReadable) as raised:
        sparc.audit_file("/no/such/file", ["long enough"])
    assert raised.value.path == "/no/such/file"


def test_without_virtualbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vboxapi", None)
    for call in (sparc.checkpoint, sparc.saved_state):
        with pytest.raises(sparc.HostError) as raised:
            call("somebody")
        assert "vboxapi" in raised.value.cause and raised.value.advice


def test_types_for_those_who_use_it(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sparc\n"
        "reveal_type(sparc.audit_file('a', [b'b']).status)\n"
        "reveal_type(sparc.checkpoint('vm').verdict.clean)\n"
        "reveal_type(sparc.SavedState('a').ram_size)\n"
    )
    argv = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(program)]
    said = subprocess.run(argv, capture_output=True, text=True, check=False)
    revealed = re.findall(r'Revealed type is "(?:builtins\.)?(\w+)"', said.stdout)
    assert revealed == ["int", "bool", "int"], said.stdout
