"""Rules: what files may say, who may say it, and whom it meets."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guest_service import containers, processes, rule_files
from guest_service.rules import Facts, Rule, unit_of

_NOBODY = 65534
_ID = "0123456789ab" + "c" * 52
_MANAGER = "/user.slice/user-5.slice/user@5.service"


def parsed(text: str, owner: int = 0) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    found = rule_files.Loaded()
    rule_files.parse(found, text.encode(), "/file", owner)
    return found.rules, found.problems


def rule(owner: int = 0, **told: Any) -> Rule:
    return Rule({"path": "/file", "number": 1, "owner": owner, **told})


def here(facts: Facts, work: Any) -> bool:
    return bool(work())


class Told(Facts):
    """A process as a test has it."""

    def __init__(self, **told: Any) -> None:
        super().__init__(
            0, lambda container: {_ID: "vault"}.get(container.id, container.name), here
        )
        self._uids = told.get("uids", (1000,) * 4)
        self._executable = told.get("executable", "/usr/bin/gpg-agent")
        self._cgroup = told.get("cgroup", "/")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "exclude.d"
    folder.mkdir(mode=0o755)
    return folder


def written(path: Path, text: str, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_file_with_all_there_is(tmp_path: Path) -> None:
    rules, problems = parsed(
        """
        [[exclude]]
        executable = ["gpg-agent", "/usr/bin/vault*"]
        unit = "vault.service"
        cgroup = "/sys/fs/cgroup/system.slice/"
        user = ["root", 1000]
        command = "* --unlock *"
        container = "vault"
        display = true
        on_restore = "restart"
        [[exclude]]
        unit = "a.scope"
        """
    )
    assert problems == []
    assert rules[0] == {
        "path": "/file",
        "number": 1,
        "owner": 0,
        "executable": ["gpg-agent", "/usr/bin/vault*"],
        "unit": ["vault.service"],
        "cgroup": ["/system.slice"],
        "user": [0, 1000],
        "command": ["* --unlock *"],
        "container": ["vault"],
        "display": True,
        "restart": True,
    }
    assert rules[1]["number"] == 2


@pytest.mark.parametrize(
    ("line", "key", "why"),
    [
        ("executable = 5", "executable", "text"),
        ('executable = ""', "executable", "text"),
        ("executable = []", "executable", "entries"),
        ('executable = "bin/x"', "executable", "whole path"),
        ('unit = "firefox"', "unit", ".service"),
        ('cgroup = "/"', "cgroup", "not the root"),
        ('user = "no such user"', "user", "no such user"),
        ("user = -1", "user", "name or number"),
        ("user = true", "user", "name or number"),
        ('exe = "x"', "exe", "not known"),
        ('unit = "a.service"\ndisplay = "yes"', "display", "true or false"),
        ('unit = "a.service"\non_restore = "again"', "on_restore", "restart"),
        ("display = true", "exclude", "says nobody"),
    ],
)
def test_a_wrong_rule_is_told_and_the_others_hold(line: str, key: str, why: str) -> None:
    rules, problems = parsed(f'[[exclude]]\n{line}\n[[exclude]]\nexecutable = "good"\n')
    assert [entry["executable"] for entry in rules] == [["good"]]
    (problem,) = problems
    assert (problem["key"], problem["path"]) == (key, "/file")
    assert why in problem["why"] and "rule 1" in problem["why"]


@pytest.mark.parametrize("text", ["[[exclude]", "\x00", "[exclude]\nunit='a.service'", "a = 1"])
def test_what_is_no_list_of_rules(text: str) -> None:
    rules, problems = parsed(text)
    assert rules == [] and len(problems) == 1


def test_a_user_names_nobody_else() -> None:
    rules, problems = parsed('[[exclude]]\nuser = "root"\n', owner=1000)
    assert rules == [] and problems[0]["key"] == "user"


def test_a_link_is_what_runs(tmp_path: Path) -> None:
    (tmp_path / "program").touch()
    (tmp_path / "link").symlink_to("program")
    rules, _ = parsed(f'[[exclude]]\nexecutable = "{tmp_path}/link"\n')
    assert rules[0]["executable"] == [f"{tmp_path}/link", f"{tmp_path}/program"]


def test_only_the_owners_files_are_read(folder: Path, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give files away")
    text = '[[exclude]]\nexecutable = "x"\n'
    good = written(folder / "a.toml", text)
    written(folder / "b.toml", text, 0o664)
    os.chown(written(folder / "c.toml", text), _NOBODY, 0)
    os.mkfifo(folder / "d.toml")
    written(folder / "e.txt", text)
    home = tmp_path / "home"
    theirs = written(home / ".config/sparc/exclude.toml", text)
    for path in (tmp_path, *tmp_path.parents[:2], home, home / ".config", theirs.parent):
        path.chmod(0o755)
    told: Any = rule_files.load(str(folder), [(_NOBODY, str(home))])
    assert [entry["path"] for entry in told["rules"]] == [str(good)]
    why = {Path(entry["path"]).name: entry["why"] for entry in told["problems"]}
    assert "others may write" in why["b.toml"]
    assert "not belong to root" in why["c.toml"]
    assert "not a plain file" in why["d.toml"]
    assert "not belong to this user" in why["exclude.toml"]
    # Mended:
    for name in ("b.toml", "c.toml", "d.toml"):
        (folder / name).unlink()
    for path in (theirs, theirs.parent):
        os.chown(path, _NOBODY, 0)
    told = rule_files.load(str(folder), [(_NOBODY, str(home))])
    assert told["problems"] == []
    assert [entry["owner"] for entry in told["rules"]] == [0, _NOBODY]
    # Whoever can write to the folder can put another one there.
    theirs.parent.chmod(0o777)
    folder.chmod(0o777)
    told = rule_files.load(str(folder), [(_NOBODY, str(home))])
    assert told["rules"] == [] and len(told["problems"]) == 2
    assert os.geteuid() == 0


def test_a_home_that_does_not_answer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(folder / "a.toml", '[[exclude]]\nexecutable = "x"\n')
    user = rule_files._user

    def slow(path: str, uid: int) -> dict[str, object]:
        if uid == 5:
            time.sleep(100)
        return user(path, uid)

    monkeypatch.setattr(rule_files, "_user", slow)
    monkeypatch.setattr(rule_files, "_HOME", 0.5)
    homes = [(uid, "/no/such/folder") for uid in (5, _NOBODY)]
    told: Any = rule_files.load(str(folder), homes)
    assert [entry["owner"] for entry in told["rules"]] == [0]
    assert [(entry["owner"], entry["why"]) for entry in told["problems"]] == [
        (5, "cannot be read: it takes too long")
    ]


def test_no_folder_no_rules() -> None:
    absent = "/no/such/folder"
    assert rule_files.load(absent, [(1, absent)]) == {"rules": [], "problems": [], "users": 1}


def test_the_stamp_changes_with_the_files(folder: Path) -> None:
    stamps = [rule_files.stamp(str(folder))]
    path = written(folder / "a.toml", "")
    stamps.append(rule_files.stamp(str(folder)))
    path.write_text("#")
    stamps.append(rule_files.stamp(str(folder)))
    path.unlink()
    stamps.append(rule_files.stamp(str(folder)))
    assert all(one != other for one, other in itertools.pairwise(stamps))


@pytest.mark.parametrize(
    ("told", "facts", "fits"),
    [
        ({"executable": ["gpg-agent"]}, {}, True),
        ({"executable": ["gpg"]}, {}, False),
        ({"executable": ["gpg*"]}, {}, True),
        ({"executable": ["/usr/bin/gpg-agent"]}, {}, True),
        ({"executable": ["/bin/gpg-agent"]}, {}, False),
        ({"executable": ["a", "*/gpg-agent"]}, {}, True),
        ({"unit": ["a.service"]}, {"cgroup": "/system.slice/a.service/sub"}, True),
        ({"unit": ["a.service"]}, {"cgroup": "/system.slice/aa.service"}, False),
        ({"unit": ["app-*firefox*.scope"]}, {"cgroup": "/x/app-gnome-firefox-1.scope"}, True),
        ({"cgroup": ["/a/b"]}, {"cgroup": "/a/b/c"}, True),
        ({"cgroup": ["/a/b"]}, {"cgroup": "/a/bc"}, False),
        ({"cgroup": ["/a[b]"]}, {"cgroup": "/a[b]"}, True),
        ({"cgroup": ["/*/a[b]?"]}, {"cgroup": "/x/a[b]c"}, True),
        ({"cgroup": ["/*/a[b]"]}, {"cgroup": "/x/ab"}, False),
        ({"cgroup": ["/a/*/c"]}, {"cgroup": "/a/b/c/d"}, True),
        ({"user": [1000]}, {}, True),
        ({"user": [1001]}, {}, False),
        ({"user": [5]}, {"uids": (0, 5, 5, 5)}, True),
        ({"user": [1000], "executable": ["other"]}, {}, False),
        ({"container": [_ID[:12]]}, {"cgroup": f"/system.slice/docker-{_ID}.scope"}, True),
        ({"container": [_ID[:5]]}, {"cgroup": f"/system.slice/docker-{_ID}.scope"}, False),
        ({"container": ["vault"]}, {"cgroup": f"/system.slice/docker-{_ID}.scope/init"}, True),
        ({"container": ["va*"]}, {"cgroup": f"/docker/{_ID}"}, True),
        ({"container": ["vault"]}, {"cgroup": "/lxc.payload.vault"}, True),
        ({"container": ["my-box"]}, {"cgroup": "/machine.slice/machine-my\\x2dbox.scope"}, True),
        ({"container": ["*"]}, {"cgroup": "/system.slice/a.service"}, False),
        ({"executable": ["*"]}, {"uids": ()}, False),
    ],
)
def test_whom_a_rule_meets(told: dict[str, Any], facts: dict[str, Any], fits: bool) -> None:
    assert rule(**told).fits(Told(**facts)) is fits


@pytest.mark.parametrize("uids", [(0, 9, 9, 9), (9, 0, 9, 9), (9, 9, 0, 9), (9, 9, 9, 0)])
def test_a_users_rule_meets_none_that_is_somebody_else_too(uids: tuple[int, ...]) -> None:
    assert rule(9, executable=["*"]).fits(Told(uids=(9, 9, 9, 9)))
    assert not rule(9, executable=["*"]).fits(Told(uids=uids))


@pytest.fixture
def talker() -> Iterator[subprocess.Popen[bytes]]:
    code = "import time; print(flush=True); time.sleep(1000)"
    argv = [sys.executable, "-c", code, "--password=äx", "", "end"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline()
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("told", ["Uid: 5", "Uid: x", "0::/a.service"])
def test_a_name_does_not_say_whose_a_process_is(told: str) -> None:
    code = "import ctypes, sys, time; ctypes.CDLL(None).prctl(15, b'\\r' + sys.argv[1].encode()); "
    argv = [sys.executable, "-c", code + "print(flush=True); time.sleep(1000)", told]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout and process.stdout.readline()
            assert processes.uids_of(process.pid) == processes.uids_of(os.getpid())
            assert processes.cgroup_of(process.pid) == processes.cgroup_of(os.getpid())
        finally:
            process.kill()


def test_command_lines(talker: subprocess.Popen[bytes]) -> None:
    def fits(*patterns: str) -> bool:
        return rule(command=list(patterns)).fits(Facts(talker.pid, lambda _: "", here))

    assert fits("*--password=*")
    assert fits("*=äx  end")
    assert not fits("--password")
    assert not fits("*[x]")
    assert fits("no", f"{sys.executable} -c *")
    talker.kill()
    talker.wait()
    assert not fits("*")


def test_a_pattern_that_is_hard_to_compare_takes_no_time(
    talker: subprocess.Popen[bytes],
) -> None:
    hard = "*a" * 500 + "*b"
    assert not rule(command=[hard]).fits(Facts(talker.pid, lambda _: "", here))
    assert not rule(executable=[hard]).fits(Told(executable="/" + "a" * 4000))


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("/system.slice/a.service", ("a.service", None)),
        ("/system.slice/a.service/deeper", ("a.service", None)),
        ("/user.slice/user-5.slice/user@5.service/app.slice/b.service", ("b.service", 5)),
        ("/user.slice/user-5.slice/user@5.service/init.scope", None),
        ("/user.slice/user-5.slice/session-1.scope", None),
        ("/user.slice/user-5.slice/user@5.service", None),
        ("/a.slice/a-b.slice/c.service", ("c.service", None)),
        ("/", None),
        ("", None),
        # Made by a user or a container, who would have others' services started afresh.
        (f"{_MANAGER}/user@6.service/b.service", ("user@6.service", 5)),
        (f"{_MANAGER}/user@x.service/ssh.service", ("user@x.service", 5)),
        (f"{_MANAGER}/user@\u00b2.service/b.service", ("user@\u00b2.service", 5)),
        (f"{_MANAGER}/b.scope/ssh.service", None),
        (f"/system.slice/docker-{_ID}.scope/system.slice/ssh.service", None),
        ("/system.slice/a.service/user@6.service/b.service", ("a.service", None)),
    ],
)
def test_the_service_of_a_group(cgroup: str, unit: tuple[str, int | None] | None) -> None:
    assert unit_of(cgroup) == unit


def test_what_root_calls_a_container(tmp_path: Path) -> None:
    config = written(tmp_path / f"docker/{_ID}/config.v2.json", '{"Name": "/vault"}')
    podman = written(tmp_path / "c.json", f'[{{"id": "{_ID}", "names": ["safe"]}}]')
    asked = str(tmp_path / "docker"), str(podman)
    assert containers.name_of(_ID, *asked) == "vault"
    config.unlink()
    assert containers.name_of(_ID, *asked) == "safe"
    podman.write_text("[" * 100_000)
    assert containers.name_of(_ID, *asked) == ""
