"""The host's commands where VirtualBox is installed: what is refused, and in which words.

The tests run in order: without the extension pack, then with it, then without it again.
"""

from __future__ import annotations

import json
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sparc_lab import Lab, VirtualBoxMachine
from sparc_lab.processes import Process, wait_for
from sparc_lab.vboxmanage import TREE, Installation

from host_service import extension_pack

_CHECKOUT = Path(__file__).parents[2]

Sparc = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def commands(lab: Lab, machine: VirtualBoxMachine) -> Path:
    """The folder of sparc's commands on the side of the host; the pack comes along."""
    extension_pack.build()
    return lab.install(_CHECKOUT)


def _run(lab: Lab, argv: list[str]) -> subprocess.CompletedProcess[str]:
    line = lab.sandbox.argv(TREE, argv, Installation(lab.sandbox).variables)
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)
    assert "Traceback" not in done.stderr, done.stderr
    # How a crash in the SDK's teardown would look.
    assert done.returncode in (0, 1, 2), done
    return done


@pytest.fixture
def sparc(lab: Lab, commands: Path) -> Sparc:
    """Runs `sparc` there."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return _run(lab, [str(commands / "sparc"), *words])

    return run


@pytest.fixture
def script(lab: Lab, commands: Path) -> Callable[[str], str]:
    """Runs Python there, with sparc's packages; its output."""

    def run(text: str) -> str:
        file = lab.sandbox.files / "script.py"
        file.write_text(textwrap.dedent(text))
        done = _run(lab, [str(commands / "python"), str(file)])
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """One line on standard error that says all that, and nothing else."""
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("checkpoint", "nobody"),
        ("restore", "nobody", "one"),
        ("status", "nobody"),
        ("host", "policy", "nobody", "warn"),
    ],
)
def test_no_such_vm(sparc: Sparc, words: tuple[str, ...]) -> None:
    refused(sparc(*words), "nobody: there is no such VM", "VBoxManage list vms")


def test_no_pack(machine: VirtualBoxMachine, sparc: Sparc) -> None:
    refused(sparc("checkpoint", "victim"), "victim", "not installed", "sparc host install")
    assert machine.checkpoints() == {} and machine.state() == "running"


@pytest.mark.parametrize("name", ["", " ", "two\nlines", "\x1b[31m"])
def test_no_name(sparc: Sparc, name: str) -> None:
    refused(sparc("checkpoint", "victim", "--name", name), "name")


def test_status_without_the_pack(sparc: Sparc) -> None:
    done = sparc("status", "victim", "--json")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert (data["vm"]["name"], data["state"], data["policy"]) == ("victim", "running", "strict")
    assert data["pack"] is None and data["last"] is None
    assert "not installed: sparc host install" in sparc("status", "victim").stdout


def test_a_policy(machine: VirtualBoxMachine, sparc: Sparc) -> None:
    assert sparc("host", "policy", "victim", "warn", "--timeout", "700").returncode == 0
    assert "warn" in machine.manage("getextradata", "victim", "SPARC/Policy")
    assert "700" in machine.manage("getextradata", "victim", "SPARC/TimeoutMs")
    assert json.loads(sparc("status", "victim", "--json").stdout)["policy"] == "warn"
    assert sparc("host", "policy", "victim", "lenient").returncode == 2
    assert sparc("host", "policy", "victim", "warn", "--timeout", "1").returncode == 2
    assert sparc("host", "policy", "victim", "strict", "--timeout", "5000").returncode == 0


def test_a_snapshot_without_the_pack_is_not_clean(machine: VirtualBoxMachine, sparc: Sparc) -> None:
    machine.checkpoint("plain")
    last = json.loads(sparc("status", "victim", "--json").stdout)["last"]
    assert (last["snapshot"], last["clean"], last["report"]) == ("plain", False, None)
    assert "NOT CLEAN: there is no report" in sparc("status", "victim").stdout
    refused(sparc("checkpoint", "victim", "--name", "plain"), "called plain already")


def test_a_checkpoint_under_way_is_not_disturbed(
    machine: VirtualBoxMachine, script: Callable[[str], str]
) -> None:
    said = script("""
        from host_service import virtualbox
        from host_service.virtualbox.operation import finish, locked
        machine = virtualbox.find("victim")
        with locked(machine) as (session, stop):
            progress, _ = session.machine.takeSnapshot("first", "", True)
            try:
                virtualbox.take_snapshot(machine, "second", "", live=False)
            except virtualbox.VirtualBoxError as error:
                print(error.cause, error.advice)
            finish(progress, machine, stop)
    """)
    assert "busy" in said and "wait" in said
    assert set(machine.checkpoints()) == {"plain", "first"} and machine.state() == "running"


@pytest.mark.parametrize(
    "number",
    ["SIGINT", *(pytest.param(name, marks=pytest.mark.long) for name in ("SIGTERM", "SIGHUP"))],
)
def test_an_interrupted_checkpoint_is_cancelled(
    machine: VirtualBoxMachine, script: Callable[[str], str], number: str
) -> None:
    before = set(machine.checkpoints())
    said = script(f"""
        import os, signal
        from host_service import virtualbox
        machine = virtualbox.find("victim")
        tell = lambda done, total: os.kill(os.getpid(), signal.{number})
        try:
            _, late = virtualbox.take_snapshot(machine, "cut", "", live=False, tell=tell)
            print("late", late)
        except virtualbox.VirtualBoxError as error:
            print(error.cause)
        print(len(machine.snapshots()))
    """)
    cause, count = said.splitlines()
    after = set(machine.checkpoints())
    assert len(after) == int(count)
    # Where the machine was quick it was too late to cancel; then that is said, and it is there.
    expected = ("interrupted: it was cancelled", before), ("late True", before | {"cut"})
    assert (cause, after) in expected
    assert machine.state() == "running"
    # No lock was left behind.
    if "cut" in after:
        machine.manage("snapshot", "victim", "delete", "cut")


def test_restore_takes_nothing_away_unasked(machine: VirtualBoxMachine, sparc: Sparc) -> None:
    refused(sparc("restore", "victim", "nothing"), "no snapshot nothing")
    refused(sparc("restore", "victim", "plain"), "the VM is running", "--force")
    machine.pause()
    refused(sparc("restore", "victim", "plain"), "the VM is paused", "--force")
    refused(sparc("checkpoint", "victim", "--live"), "no live checkpoint")
    machine.resume()
    assert machine.state() == "running"


def test_restore(machine: VirtualBoxMachine, sparc: Sparc) -> None:
    machine.shell("echo later > /root/later")
    done = sparc("restore", "victim", "plain", "--force", "--no-start", "--json")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert (data["snapshot"]["name"], data["clean"], data["started"]) == ("plain", False, None)
    assert machine.state() == "saved"
    refused(sparc("checkpoint", "victim"), "not running (saved)")
    # What it is now is in the snapshot: there is nothing to lose.
    assert "NOT CLEAN" in sparc("restore", "victim", "plain", "--no-start").stdout
    machine.start(300)
    assert machine.shell("ls /root/later").status != 0


def test_several_of_one_name(machine: VirtualBoxMachine, sparc: Sparc) -> None:
    machine.manage("snapshot", "victim", "take", "plain")
    done = sparc("restore", "victim", "plain", "--force", "--no-start")
    refused(done, "several snapshots", "UUID")
    assert machine.state() == "running"


def test_the_pack_is_put_in(machine: VirtualBoxMachine, sparc: Sparc) -> None:
    done = sparc("host", "install")
    assert done.returncode == 0, done.stderr
    assert "is installed" in done.stdout and "victim" in done.stdout
    packs = machine.manage("list", "extpacks")
    assert extension_pack.NAME in packs
    again = sparc("host", "install")
    assert again.returncode == 0 and "installed already" in again.stdout


def test_a_machine_that_was_started_before(machine: VirtualBoxMachine, sparc: Sparc) -> None:
    refused(sparc("checkpoint", "victim"), "without the extension pack", "start it again")
    assert "not in this VM's process" in sparc("status", "victim").stdout
    machine.power_off()
    refused(sparc("checkpoint", "victim"), "not running (off)")


def test_no_module(machine: VirtualBoxMachine, sparc: Sparc) -> None:
    machine.restore("first")
    before = set(machine.checkpoints())
    refused(sparc("checkpoint", "victim"), "no sparc module in the guest")
    assert set(machine.checkpoints()) == before
    pack = json.loads(sparc("status", "victim", "--json").stdout)["pack"]
    assert (pack["module"], pack["abi"], pack["armed"]) == (False, None, False)
    assert "not in the guest" in sparc("status", "victim").stdout


@pytest.fixture
def hostd(lab: Lab, commands: Path) -> Iterator[Process]:
    """`sparc-hostd`, running there."""
    log = lab.sandbox.files / "hostd.log"
    argv = [str(commands / "sparc-hostd")]
    daemon = lab.sandbox.spawn(TREE, argv, log=log, env=Installation(lab.sandbox).variables)
    assert wait_for(lambda: "listening" in log.read_text(), timeout=20)
    yield daemon
    daemon.end()


def test_only_one_hostd(lab: Lab, commands: Path, hostd: Process) -> None:
    again = _run(lab, [str(commands / "sparc-hostd")])
    assert again.returncode == 2 and "runs already" in again.stderr
    assert hostd.alive()
    modes = lab.sandbox.run(
        TREE, ["stat", "-c", "%a", "/run/sparc-host", "/run/sparc-host/hostd.sock"]
    )
    assert modes.split() == ["700", "600"]
    hostd.end()
    assert "hostd.sock" not in lab.sandbox.run(TREE, ["ls", "/run/sparc-host"])


def test_a_snapshot_of_a_guest_without_the_module(
    lab: Lab, machine: VirtualBoxMachine, sparc: Sparc, hostd: Process
) -> None:
    """It is taken all the same, by VirtualBox's own ways; reported, and kept in the journal."""
    machine.checkpoint("bare")
    last = json.loads(sparc("status", "victim", "--json").stdout)["last"]
    assert last["snapshot"] == "bare" and last["clean"] is False
    assert last["report"]["reason"] == "no-module"
    noted = [json.loads(line) for line in sparc("log", "victim", "--json").stdout.splitlines()]
    files = [entry["state_file"] for entry in noted if entry["event"] == "checkpoint"]
    assert files == [str(machine.saved_state("bare"))]
    assert "NOT CLEAN" in sparc("log", "-n", "1").stdout
    assert sparc("log", "nobody").stdout == ""


def test_with_the_module_and_nothing_excluded(
    lab: Lab, machine: VirtualBoxMachine, sparc: Sparc, hostd: Process
) -> None:
    machine.put(lab.build_module(_CHECKOUT / "kmod"), "/root/sparc.ko")
    assert machine.run(["insmod", "/root/sparc.ko"]).status == 0
    for name, options in {"calm": [], "live": ["--live"]}.items():
        done = sparc("checkpoint", "victim", "--name", name, "--json", *options)
        data = json.loads(done.stdout)
        assert (done.returncode, data["clean"], done.stderr) == (0, True, ""), done
        assert data["snapshot"]["name"] == name and data["report"]["excluded"] == []
        assert data["report"]["reason"] == "nothing-excluded"
        assert data["state_file"] == str(machine.saved_state(name))
    # VirtualBox's own list says it too.
    assert "sparc: clean" in machine.manage("snapshot", "victim", "list", "--details")
    listed = json.loads(sparc("list", "victim", "--json").stdout)["snapshots"]
    assert {entry["name"]: entry["clean"] for entry in listed} == {
        **dict.fromkeys(machine.checkpoints(), False),
        **dict.fromkeys(("calm", "live"), True),
    }
    assert [entry["name"] for entry in listed if entry["current"]] == ["live"]
    machine.pause()
    paused = sparc("checkpoint", "victim")
    assert paused.returncode == 0 and ": clean\n" in paused.stdout
    assert machine.state() == "paused"
    machine.resume()
    # What is damaged afterwards is not believed any more.
    machine.saved_state("calm").touch()
    assert "NOT CLEAN" in sparc("restore", "victim", "calm", "--force", "--no-start").stdout
    assert "is clean" in sparc("restore", "victim", "live", "--force", "--no-start").stdout
    (restored,) = sparc("log", "victim", "-n", "1").stdout.splitlines()
    assert "restored    live, not started; clean" in restored
    machine.start(300)


def test_the_pack_is_taken_out(machine: VirtualBoxMachine, sparc: Sparc) -> None:
    refused(sparc("host", "uninstall"), "VMs are running", "victim", "--force")
    done = sparc("host", "uninstall", "--force")
    assert done.returncode == 0 and "was taken out" in done.stdout and "victim" in done.stdout
    assert f"{extension_pack.NAME}\n" not in machine.manage("list", "extpacks")
    assert "was not installed" in sparc("host", "uninstall").stdout
    # The VM keeps it to its end, unharmed.
    assert machine.shell("echo well").text.strip() == "well"
