"""`sparc host`: the extension pack in VirtualBox, and what a VM's checkpoints are to be like."""

from __future__ import annotations

import click

from sparc.cli.hypervisor import of_hypervisor
from sparc.printable import printable

__all__ = ["command"]


@click.group(name="host")
def command() -> None:
    """Set up this host: VirtualBox's extension pack, and each VM's policy."""


@command.command()
def install() -> int:
    """Put the extension pack into VirtualBox, building it first in a checkout.

    Needs root, or pkexec to ask for a password. VMs that run are protected once they were powered
    off and started again. Exit status: 0 it is there, 2 not.
    """
    from host_service import extension_pack

    pack, changed = extension_pack.install()
    what = "is installed" if changed else "was installed already"
    click.echo(printable(f"the extension pack {extension_pack.NAME} {pack.version} {what}"))
    if changed and (running := extension_pack.running_vms()):
        names = ", ".join(running)
        click.echo(printable(f"running without it until they are started again: {names}"))
    return 0


@command.command()
@click.option("--force", is_flag=True, help="Even if VMs run; they keep it until they end.")
def uninstall(force: bool) -> int:
    """Take the extension pack out of VirtualBox.

    Checkpoints that were made with it can be restored without it. Exit status: 0 it is not there,
    2 it is.
    """
    from host_service import extension_pack

    running = extension_pack.running_vms()
    removed = extension_pack.uninstall(force=force)
    what = "was taken out" if removed else "was not installed"
    click.echo(f"the extension pack {extension_pack.NAME} {what}")
    if removed and running:
        click.echo(printable(f"VMs that keep it until they end: {', '.join(running)}"))
    return 0


@command.command(name="guest-iso")
@click.argument("file", type=click.Path(dir_okay=False))
def guest_iso(file: str) -> int:
    """Write an image of a CD to FILE, with what guests need, for VMs that reach no network.

    Put it into the VM's drive, and in the guest, as root: mount /dev/cdrom /mnt; sh /mnt/install.
    The guest has to have Python 3.11 or newer, make, gcc and its kernel's headers, or DKMS. Needs
    xorriso. Exit status: 0 it is written, 2 not.
    """
    from host_service import guest_iso

    guest_iso.write(file)
    return 0


@command.command()
@click.argument("vm")
@click.argument("policy", type=click.Choice(["strict", "warn", "off"]))
@of_hypervisor
@click.option(
    "--timeout", type=click.IntRange(100, 600_000), metavar="MS", help="How long a guest may take."
)
def policy(vm: str, policy: str, hypervisor: str, timeout: int | None) -> int:
    """Say what is done when the guest does not prepare itself for a checkpoint.

    strict: the checkpoint fails; warn: it is taken, and reported as not clean; off: VM is left
    alone, and no checkpoint of it is clean.
    """
    from host_service import hypervisor as hypervisors
    from host_service.virtualbox import find, set_extra

    if hypervisors.of(vm, hypervisor) == hypervisors.QEMU:
        from host_service.qemu.store import write_policy

        write_policy(vm, policy, timeout)
        return 0
    machine = find(vm)
    set_extra(machine, "SPARC/Policy", policy)
    if timeout is not None:
        set_extra(machine, "SPARC/TimeoutMs", str(timeout))
    return 0
