"""The command ``sparc-lab``."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .build import KERNELS
from .errors import LabError, UsageError
from .lab import Lab
from .machine import Machine, Settings
from .qemu import QemuMachine
from .virtualbox import CHECKPOINT_WAYS, VirtualBoxMachine

__all__ = ["main"]

# What `run` ends with when the lab itself failed, so that it is not taken for the guest's status.
_LAB_FAILED = 125


class _Commands(click.Group):
    """Words the lab's errors for people: one line what happened, one line what to do."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OSError as error:
            click.echo(f"sparc-lab: {error.filename or ''}: {error.strerror or error}", err=True)
            ctx.exit(_LAB_FAILED if ctx.invoked_subcommand == "run" else 1)
        except LabError as error:
            click.echo(f"sparc-lab: {error}", err=True)
            if error.hint:
                click.echo(f"  {error.hint}", err=True)
            status = 2 if isinstance(error, UsageError) else 1
            ctx.exit(_LAB_FAILED if ctx.invoked_subcommand == "run" else status)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """A real VirtualBox, and QEMU, with a real Linux guest."""


def _name(command: Callable[..., None]) -> Callable[..., None]:
    return click.option("--name", default="lab", show_default=True, help="Which machine.")(command)


def _kernel(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--kernel",
        type=click.Choice(KERNELS),
        default="lab",
        show_default=True,
        help="The guest's kernel; Debian's own boot under QEMU only.",
    )(command)


def _json(command: Callable[..., None]) -> Callable[..., None]:
    return click.option("--json", "as_json", is_flag=True, help="Print for a program to read.")(
        command
    )


def _say(as_json: bool, values: dict[str, Any], text: str) -> None:
    click.echo(json.dumps(values) if as_json else text)


def _virtualbox(name: str, what: str) -> VirtualBoxMachine:
    machine = Lab().machine(name)
    if not isinstance(machine, VirtualBoxMachine):
        raise UsageError(f"{what} is for machines under VirtualBox, {name!r} is not one")
    return machine


@main.command()
@_json
def build(as_json: bool) -> None:
    """Make what the lab needs into the cache."""
    lab = Lab()
    parts = lab.build()
    paths = {key: str(value) for key, value in vars(parts).items() if key != "key"}
    _say(as_json, paths, f"the lab is built in {lab.cache.root}")


@main.command()
@click.option("--memory", default=128, show_default=True, metavar="MB")
@click.option("--cpus", default=1, show_default=True)
@click.option("--cold", is_flag=True, help="Boot instead of going on from a booted state.")
@click.option("--qemu", is_flag=True, help="Under QEMU instead of VirtualBox.")
@click.option("--hm", is_flag=True, help="VirtualBox as users run it, with AMD-V, inside QEMU.")
@_kernel
@_name
@_json
def up(
    memory: int,
    cpus: int,
    cold: bool,
    qemu: bool,
    hm: bool,
    kernel: str,
    name: str,
    as_json: bool,
) -> None:
    """Start a machine; ends when its shell answers."""
    if qemu and hm:
        raise UsageError("--qemu and --hm exclude each other")
    hypervisor = "qemu" if qemu else "hm" if hm else "virtualbox"
    settings = Settings(name, hypervisor, memory, cpus, kernel)
    machine = Lab().up(settings, cold=cold)
    _say(as_json, _describe(machine), f"{name} is up")


@main.command(context_settings={"ignore_unknown_options": True})
@click.option("--timeout", default=120.0, show_default=True, metavar="SECONDS")
@_name
@_json
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(command: tuple[str, ...], timeout: float, name: str, as_json: bool) -> None:
    """Run a command in the guest; its output and exit status."""
    result = Lab().machine(name).run(command, timeout)
    if as_json:
        values = {
            "status": result.status,
            "stdout": result.stdout.decode(errors="replace"),
            "stderr": result.stderr.decode(errors="replace"),
        }
        click.echo(json.dumps(values))
    else:
        sys.stdout.buffer.write(result.stdout)
        sys.stderr.buffer.write(result.stderr)
    sys.exit(result.status)


@main.command()
@_name
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target")
def put(source: Path, target: str, name: str) -> None:
    """Copy a file into the guest."""
    Lab().machine(name).put(source, target)


@main.command()
@_name
@click.argument("source")
@click.argument("target", type=click.Path(path_type=Path))
def get(source: str, target: Path, name: str) -> None:
    """Copy a file out of the guest."""
    Lab().machine(name).get(source, target)


@main.command("type")
@_name
@click.option("--enter", is_flag=True, help="Press Enter at the end.")
@click.argument("terminal")
@click.argument("text")
def type_(terminal: str, text: str, enter: bool, name: str) -> None:
    """Type TEXT at a guest terminal: tty1, tty2, ttyS0. TEXT "-" is read from standard input."""
    if text == "-":
        text = sys.stdin.read()
    Lab().machine(name).type(terminal, text + "\n" * enter)


@main.command()
@_name
@_json
@click.option("--via", type=click.Choice(CHECKPOINT_WAYS), default="vboxmanage", show_default=True)
@click.argument("checkpoint")
def checkpoint(checkpoint: str, via: str, name: str, as_json: bool) -> None:
    """Take a checkpoint by one of VirtualBox's own ways."""
    path = _virtualbox(name, "checkpoint").checkpoint(checkpoint, via)
    _say(as_json, {"name": checkpoint, "via": via, "sav": str(path)}, str(path))


@main.command()
@_name
@_json
@click.argument("checkpoint")
def restore(checkpoint: str, name: str, as_json: bool) -> None:
    """Go back to a checkpoint and run from there."""
    machine = _virtualbox(name, "restore")
    machine.restore(checkpoint)
    _say(as_json, _describe(machine), f"{name} runs from {checkpoint}")


@main.command()
@_name
@_json
@click.argument("checkpoint")
def sav(checkpoint: str, name: str, as_json: bool) -> None:
    """Print the path of a checkpoint's saved state."""
    path = _virtualbox(name, "sav").saved_state(checkpoint)
    _say(as_json, {"name": checkpoint, "sav": str(path)}, str(path))


@main.command()
@_name
@click.option("--window", is_flag=True, help="The whole window, not the guest's screen alone.")
@click.argument("target", type=click.Path(path_type=Path))
def screenshot(target: Path, window: bool, name: str) -> None:
    """Write what the screen shows as a PNG file."""
    if window:
        _virtualbox(name, "--window").window_screenshot(target)
    else:
        Lab().machine(name).screenshot(target)


@main.command()
@_name
@click.argument("target", type=click.Path(path_type=Path))
def ram(target: Path, name: str) -> None:
    """Write the physical memory of a machine under QEMU, raw and sparse."""
    machine = Lab().machine(name)
    if not isinstance(machine, QemuMachine):
        raise UsageError(f"ram is for machines under QEMU; for {name!r}: sparc-lab core")
    machine.ram(target)


@main.command()
@_name
@click.argument("target", type=click.Path(path_type=Path))
def core(target: Path, name: str) -> None:
    """Write a machine's memory as the ELF core that its hypervisor makes."""
    machine = Lab().machine(name)
    machine.require("running", "paused")
    machine.core(target)


@main.command()
@_kernel
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE")
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
def module(source: Path, out: Path, kernel: str) -> None:
    """Build a kernel module from the folder SOURCE."""
    shutil.copy(Lab().build_module(source, kernel), out)


@main.command(context_settings={"ignore_unknown_options": True})
@click.option("--name", default="", help="Where this machine's VirtualBox is, if it has its own.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def host(command: tuple[str, ...], name: str) -> None:
    """Run a command on the side of the host, where the machines' VirtualBox is installed."""
    sys.exit(Lab().host(command, name))


@main.command()
@_json
def status(as_json: bool) -> None:
    """List the machines and their checkpoints."""
    lab = Lab()
    machines = [_describe(lab.machine(name)) for name in lab.names()]
    if as_json:
        click.echo(json.dumps(machines))
    elif not machines:
        click.echo("no machine is up")
    for machine in [] if as_json else machines:
        size = f"{machine['memory']} MB, {machine['cpus']} CPU"
        click.echo(f"{machine['name']}: {machine['state']} ({machine['hypervisor']}, {size})")
        for name, path in machine["checkpoints"].items():
            click.echo(f"  {name}: {path}")


@main.command()
@_name
@click.option("--all", "everything", is_flag=True, help="All machines.")
def down(name: str, everything: bool) -> None:
    """End a machine and leave nothing of it."""
    lab = Lab()
    if everything:
        lab.close()
    else:
        lab.down(name)


def _describe(machine: Machine) -> dict[str, Any]:
    try:
        state = machine.state()
    except LabError:
        state = "unknown"
    return {
        **vars(machine.settings),
        "state": state,
        "folder": str(machine.folder),
        "checkpoints": {name: str(path) for name, path in machine.checkpoints().items()},
    }
