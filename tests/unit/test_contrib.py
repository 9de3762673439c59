"""What is in contrib/, tried as far as that goes without a machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from guest_service.rule_files import Loaded, parse

_CONTRIB = Path(__file__).parents[2] / "contrib"
_SITE = _CONTRIB / "ansible/site.yml"

Play = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Runs the playbook for this machine, without leaving anything outside of the folder."""
    ansible = shutil.which("ansible-playbook")
    if ansible is None:
        pytest.skip("there is no ansible-playbook: pip install ansible-core")
    local = f"localhost ansible_connection=local ansible_python_interpreter={sys.executable}"
    inventory = tmp_path / "inventory"
    inventory.write_text(f"[guests]\n{local}\n[hosts]\n{local}\n")
    own = {"ANSIBLE_HOME": str(tmp_path / "ansible"), "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"}

    def run(*words: str, **variables: object) -> subprocess.CompletedProcess[str]:
        given = json.dumps({"ansible_become": False, "sparc_started": False, **variables})
        argv = [ansible, "-i", str(inventory), str(_SITE), "-e", given, *words]
        env = {**os.environ, **own, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        return subprocess.run(argv, capture_output=True, text=True, check=False, env=env)

    return run


def test_the_playbook_is_one(play: Play) -> None:
    done = play("--syntax-check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_role_writes_the_service_reads(play: Play, tmp_path: Path) -> None:
    folder = tmp_path / "exclude.d"
    rules: list[dict[str, object]] = [
        {"executable": '/opt/a "name" \\ with/signs', "command": ["* b\u00f6se", "*"]},
        {"unit": ["vault.service"], "on_restore": "restart", "display": True},
    ]
    words = ["--tags", "rules", "--limit", "guests"]
    given = {"sparc_rules": str(folder), "sparc_exclude": rules}
    done = play(*words, "--check", **given)
    assert done.returncode == 0 and not folder.exists(), done.stdout + done.stderr
    done = play(*words, **given)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o644
    found = Loaded()
    parse(found, file.read_bytes(), str(file), 0)
    assert not found.problems and len(found.rules) == 2
    assert "changed=0" in play(*words, **given).stdout


@pytest.mark.parametrize(
    ("status", "good_enough", "fine"),
    [(0, False, True), (1, False, False), (1, True, True), (2, True, False)],
)
def test_a_checkpoint_that_is_not_clean_is_a_failure(
    play: Play, tmp_path: Path, status: int, good_enough: bool, fine: bool
) -> None:
    said = json.dumps({"snapshot": {"name": "one"}, "why": "so it is"}) if status < 2 else ""
    command = tmp_path / "sparc"
    command.write_text(f"#!/bin/sh\necho \"$*\" > {tmp_path}/asked\necho '{said}'\nexit {status}\n")
    command.chmod(0o755)
    done = play("--skip-tags", "packages,rules", vms=["web"], sparc_unclean=good_enough)
    assert (done.returncode == 0) is fine, done.stdout + done.stderr
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith("checkpoint web --json --description taken by Ansible")
    assert ("one: so it is" in done.stdout) is fine


def test_the_vagrantfile_is_ruby() -> None:
    ruby = shutil.which("ruby")
    if ruby is None:
        pytest.skip("there is no ruby: apt install ruby")
    argv = [ruby, "-c", str(_CONTRIB / "vagrant/Vagrantfile")]
    assert subprocess.run(argv, check=True, capture_output=True).stdout == b"Syntax OK\n"
