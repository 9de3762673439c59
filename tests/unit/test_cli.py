"""The command line: its output, its exit statuses, and that no secret leaves it."""

from __future__ import annotations

import json
import os
import pty
import random
import subprocess
import sys
from pathlib import Path

import pytest
from samples import DATA, Make

from sparc.cli.main import main
from tools.bench.savwriter import PAGE

SECRET = b"do-not-print-me-4711"
EVIL = "ev\x1b[2Jil\x07"


def run(capfd: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(list(args))
    out, err = capfd.readouterr()
    assert SECRET.decode() not in out + err
    return int(end.value.code or 0), out, err


def secrets(tmp_path: Path, *values: bytes) -> str:
    path = tmp_path / "secrets"
    path.write_bytes(b"\n".join(values) + b"\n")
    return str(path)


def test_info(capfd: pytest.CaptureFixture[str], sample: Path) -> None:
    status, out, err = run(capfd, "sav", "info", str(sample))
    assert (status, err) == (0, "")
    assert "7.2.22" in out and "good" in out and "DisplayScreenshot" in out


def test_info_json(capfd: pytest.CaptureFixture[str], sample: Path) -> None:
    status, out, _ = run(capfd, "sav", "info", "--json", str(sample))
    data = json.loads(out)
    assert status == 0
    assert (data["virtualbox"], data["checksums"], data["live"]) == (
        "7.2.22",
        "good",
        sample.stem == "live",
    )
    assert data["memory"]["ram"] == 16 << 20
    assert data["pages"]["ram_zero"] == 3993
    # Headers, contents, the end mark, the directory and the footer make up the file.
    listed = {(u["name"], u["instance"]) for u in data["units"] if u["name"] != "SSMLiveControl"}
    inside = sum(44 + len(u["name"]) + 1 + u["stored"] for u in data["units"])
    assert 64 + inside + 44 + 16 + 16 * len(listed) + 32 == data["size"]


def test_info_of_a_damaged_file(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = bytearray((DATA / "plain.sav").read_bytes())
    data[150_000] ^= 1
    path = tmp_path / "damaged.sav"
    path.write_bytes(data)
    status, out, err = run(capfd, "sav", "info", "--json", str(path))
    assert status == 2
    assert json.loads(out)["checksums"] == "bad"
    assert err.startswith(f"sparc: {path}: ") and err.count("\n") == 1


@pytest.mark.parametrize("form", ["raw", "elf"])
def test_export(capfd: pytest.CaptureFixture[str], make: Make, tmp_path: Path, form: str) -> None:
    rng = random.Random(1)
    info = (b"OSRELEASE=6.1.0\nPAGESIZE=4096\nSYMBOL(x)=0\n").ljust(PAGE, b"\0")
    pages = {
        1: rng.randbytes(PAGE),
        2: bytes(PAGE),
        7: b"x" * PAGE,
        9: info,
        200: rng.randbytes(PAGE),
    }
    out = tmp_path / "out"
    status, text, err = run(capfd, "sav", "export", str(make(pages)), str(out), "--format", form)
    assert (status, text, err) == (0, "", "")
    data = out.read_bytes()
    assert out.stat().st_mode & 0o777 == 0o600
    assert out.stat().st_blocks * 512 < 64 * PAGE  # sparse
    start = 0
    if form == "elf":
        shown = subprocess.run(
            ["readelf", "-lnW", out], capture_output=True, text=True, check=True
        ).stdout
        assert "VMCOREINFO" in shown
        line = next(text for text in shown.splitlines() if text.split()[:1] == ["LOAD"])
        start, _, address, size = (int(field, 16) for field in line.split()[1:5])
        assert (address, size) == (0, 256 * PAGE)
    assert len(data) == start + 256 * PAGE
    for page, content in pages.items():
        assert data[start + page * PAGE :][:PAGE] == content


def test_export_leaves_the_old_file_when_it_fails(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source, out = tmp_path / "cut.sav", tmp_path / "out"
    source.write_bytes((DATA / "plain.sav").read_bytes()[:-1])
    out.write_text("old")
    status, _, err = run(capfd, "sav", "export", str(source), str(out))
    assert (status, err.count("\n"), out.read_text()) == (2, 1, "old")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.sav", "out"]
    status, _, err = run(
        capfd, "sav", "export", str(DATA / "plain.sav"), str(tmp_path / "no" / "out")
    )
    assert (status, err.count("\n")) == (2, 1)


def test_audit_statuses(capfd: pytest.CaptureFixture[str], make: Make, tmp_path: Path) -> None:
    path = make({5: b"..." + SECRET + bytes(PAGE - 3 - len(SECRET))})
    listed = secrets(tmp_path, b"innocent-one", SECRET)
    status, out, err = run(capfd, "audit", str(path), "--secret-file", listed)
    assert (status, err) == (1, "")
    assert "Secret 2" in out and "0x000000005003" in out and "Secret 1 " not in out
    assert (
        run(capfd, "audit", str(path), "--secret-file", secrets(tmp_path, b"innocent-one"))[0] == 0
    )
    path.write_bytes(path.read_bytes() + b"more")
    status, out, err = run(capfd, "audit", str(path), "--secret-file", secrets(tmp_path, SECRET))
    assert status == 2 and "Secret 1" in out and "not clean" in out and err.count("\n") == 1


def test_audit_json(capfd: pytest.CaptureFixture[str], make: Make, tmp_path: Path) -> None:
    path = make({5: b"..." + SECRET + bytes(PAGE - 3 - len(SECRET))}, {"pckbd": b"12345" + SECRET})
    listed = secrets(tmp_path, b"innocent-one", SECRET)
    status, out, _ = run(capfd, "audit", str(path), "--secret-file", listed, "--json")
    data = json.loads(out)
    assert status == 1 and data["status"] == "residue" and data["problems"] == []
    assert [s["findings"] for s in data["secrets"]] == [0, 2]
    places = {(f["place"], f.get("name"), f["address"], f["encoding"]) for f in data["findings"]}
    assert places == {("ram", None, 0x5003, "utf-8"), ("unit", "pckbd", 5, "utf-8")}


def test_secrets_from_standard_input(make: Make) -> None:
    path = make({5: SECRET.ljust(PAGE, b"x")})
    command = [sys.executable, "-m", "sparc.cli", "audit", str(path)]
    done = subprocess.run(command, input=SECRET + b"\r\n", capture_output=True)
    assert done.returncode == 1, done.stderr
    assert b"standard input, line 1" in done.stdout and SECRET not in done.stdout


def test_secrets_typed_at_a_terminal_are_not_echoed(make: Make) -> None:
    path = make({5: SECRET.ljust(PAGE, b"x")})
    command = [sys.executable, "-m", "sparc.cli", "audit", str(path)]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, command)
    shown = b""
    # Typed only when asked for: echo is off by then.
    for _ in range(2):
        asked = shown.count(b"Secret (")
        while shown.count(b"Secret (") == asked:
            shown += os.read(terminal, 4096)
        os.write(terminal, SECRET + b"\n" if not asked else b"\n")
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError:
        pass  # how a terminal says that its other end has closed
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert SECRET not in shown and b"residue" in shown


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "no secret"),
        (b"\n\r\n", "no secret"),
        (b"long enough\nabc\n", "line 2: shorter"),
        (b"x" * 2000, "line 1: longer"),
        (b"\n".join(b"%08d" % i for i in range(3000)), "more than"),
        (None, "No such file"),
    ],
)
def test_unusable_secrets(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, content: bytes | None, cause: str
) -> None:
    path = tmp_path / "list"
    if content is not None:
        path.write_bytes(content)
    status, out, err = run(capfd, "audit", str(DATA / "plain.sav"), "--secret-file", str(path))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert cause in err


@pytest.mark.parametrize(
    "mistake", [SECRET.decode(), f"--{SECRET.decode()}", f"-{SECRET.decode()}"]
)
def test_secrets_are_no_arguments_and_not_repeated(
    capfd: pytest.CaptureFixture[str], mistake: str
) -> None:
    status, _, err = run(capfd, "audit", str(DATA / "plain.sav"), mistake)
    assert status == 2 and "audit --help" in err


def test_a_list_of_secrets_in_the_wrong_place_is_not_shown(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    misplaced = secrets(tmp_path, SECRET)
    status, _, err = run(capfd, "audit", misplaced, "--secret-file", misplaced)
    assert status == 2 and err.count("\n") == 1
    assert SECRET[:4].hex(" ") not in err


def test_a_vm_without_the_sdk(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vboxapi", None)
    status, _, err = run(
        capfd, "audit", "SomeVM:snapshot", "--secret-file", secrets(tmp_path, SECRET)
    )
    assert status == 2 and "vboxapi" in err and err.count("\n") == 1


def test_unreadable_targets(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for target in (str(tmp_path), "/no/such/file.sav", "/dev/zero"):
        for command in (
            ["sav", "info", target],
            ["audit", target, "--secret-file", secrets(tmp_path, SECRET)],
        ):
            status, out, err = run(capfd, *command)
            assert (status, out, err.count("\n")) == (2, "", 1), command


@pytest.mark.parametrize("command", [("sav", "info"), ("audit",), ("report", "--html", "page")])
def test_a_file_cannot_steer_the_terminal(
    capfd: pytest.CaptureFixture[str],
    make: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--secret-file", secrets(tmp_path, SECRET)) if "audit" in command else ()
    good = make({5: b"x" * PAGE}, {EVIL: SECRET}).read_bytes()
    magic = b"\x7fVirtualBox SavedState V"
    for name, content in {
        "one": good,
        "cut": good[:-40],
        "version": (magic + EVIL.encode() + b"\n").ljust(64, b"\0"),
        EVIL: good,
        f"{EVIL} cut": good[:-40],
    }.items():
        path = tmp_path / f"{name}.sav"
        path.write_bytes(content)
        _, out, err = run(capfd, *command, str(path), *options)
        assert out + err and all(line.isprintable() for line in (out + err).splitlines())
        if name == EVIL or (name, *command) in (("one", "audit"), ("one", "sav", "info")):
            assert r"\x1b[2J" in out + err


def test_audit_says_what_it_does_not_find(capfd: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capfd, "audit", "--help")
    told = " ".join(out.split())
    assert status == 0
    for limit in ("under 8 bytes", "adjacent pages only", "drawn as pixels"):
        assert limit in told


def test_audit_of_many(capfd: pytest.CaptureFixture[str], make: Make, tmp_path: Path) -> None:
    listed = secrets(tmp_path, b"innocent-one", SECRET)
    folder = tmp_path / "a" / "deep"
    folder.mkdir(parents=True)
    clean = make({5: b"x" * PAGE}).rename(folder / "clean.sav")
    found = make({5: SECRET.ljust(PAGE, b"x")}).rename(folder / "found.sav")
    words = ["audit", str(tmp_path / "a/**/*.sav"), str(clean), "--secret-file", listed]
    status, out, err = run(capfd, *words)
    assert (status, err) == (1, "")
    assert out.splitlines()[:2] == [f"{clean}:", "  clean: none of 2 secrets is in this checkpoint"]
    assert out.splitlines()[-1] == "2 checkpoints: 1 clean, 1 with residue"
    data = json.loads(run(capfd, *words, "--json")[1])
    alone = [
        json.loads(run(capfd, "audit", str(path), "--secret-file", listed, "--json")[1])
        for path in (clean, found)
    ]
    assert data == {"status": "residue", "files": alone}
    (folder / "none.sav").write_bytes(SECRET)
    status, out, err = run(capfd, *words)
    assert status == 2 and err.count("\n") == 1 and "none.sav: is not a" in err
    assert out.splitlines()[-1] == "3 checkpoints: 1 clean, 1 with residue, 1 not read whole"
    data = json.loads(run(capfd, *words, "--json")[1])
    assert [file["status"] for file in data["files"]] == ["clean", "residue", "incomplete"]
    assert "is not a VirtualBox" in data["files"][2]["problems"][0]["message"]


@pytest.mark.parametrize(
    "word", [SECRET.decode(), f"{SECRET.decode()}*", f"/{SECRET.decode()}", f"vm:{SECRET.decode()}"]
)
def test_of_several_words_none_is_repeated(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, word: str
) -> None:
    listed = secrets(tmp_path, SECRET)
    status, out, err = run(capfd, "audit", str(DATA / "plain.sav"), word, "--secret-file", listed)
    assert (status, out) == (2, "") and "argument 2" in err


@pytest.mark.parametrize(
    "options", [["--tls-key", "k"], ["--scheduler", "tls://a:1", "--tls-cert", "c"]]
)
def test_half_of_a_connection(capfd: pytest.CaptureFixture[str], options: list[str]) -> None:
    status, out, err = run(capfd, "audit", str(DATA / "plain.sav"), *options)
    assert (status, out) == (2, "") and "go together" in err
