"""The option that says whose VM it is."""

from __future__ import annotations

import click

__all__ = ["of_hypervisor"]

of_hypervisor = click.option(
    "--hypervisor",
    type=click.Choice(["virtualbox", "qemu"]),
    callback=lambda *given: given[-1] or "",
    help="Whose VM it is, if both have one of that name.",
)
