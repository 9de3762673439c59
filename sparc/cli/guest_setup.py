"""`sparc guest`: this guest's parts, put in and taken out where there is no package."""

from __future__ import annotations

import click

from sparc.printable import printable

__all__ = ["command"]


@click.group(name="guest")
def command() -> None:
    """Set up this guest from a checkout: kernel module, service, command."""


@command.command()
@click.option("--kernel", metavar="RELEASE", help="Build for this kernel, and start nothing.")
def install(kernel: str | None) -> int:
    """Build the kernel module and put it, the service and the command into this guest.

    Needs root, make, gcc, the kernel's headers, and click for the system's Python. Where there is
    DKMS it builds the module, and does so again for each kernel that is installed later; it also
    signs it for Secure Boot. What an earlier version left is replaced. Exit status: 0 it is there,
    2 not, or not whole.
    """
    from guest_service import installation

    for line in installation.install(kernel):
        click.echo(printable(line))
    return 0


@command.command()
def uninstall() -> int:
    """Take out what `sparc guest install` put in.

    Programs that are excluded stay so, and the module with them, until they end. The group sparc
    stays. Exit status: 0 it is not there, 2 it is.
    """
    from guest_service import installation

    for line in installation.uninstall():
        click.echo(printable(line))
    return 0
