"""`sparc doctor`: what is not as it must be, in a guest or on a host, and what mends it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from sparc.cli.side import on_host
from sparc.findings import BAD, GOOD, NOTE, UNKNOWN, Finding, status
from sparc.printable import printable

__all__ = ["command"]

_WORDS = {GOOD: ("ok", "green"), NOTE: ("note", "yellow"), UNKNOWN: ("?", "yellow")}
_WORDS[BAD] = ("WRONG", "red")


@click.command(name="doctor")
@click.argument("vms", nargs=-1, metavar="[VM]...")
@click.option("--guest", "side", flag_value="guest", help="Look at this machine as a guest.")
@click.option("--host", "side", flag_value="host", help="Look at this machine as a host.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--quiet", is_flag=True, help="Print only what is not right.")
def command(vms: tuple[str, ...], side: str | None, as_json: bool, quiet: bool) -> int:
    """Say for each thing that must be right whether it is, and the command that mends it.

    In a guest: the module, the service, control groups, what is done about freed memory, swap, the
    kernel, rules. On a host: VirtualBox, the extension pack, and for each VM, or those named, the
    pack in it, the module in its guest, its last checkpoint, and who may read its saved states. A
    VM that is not named and was never set up for sparc (by a policy, or a module in its guest) need
    not be clean.

    ok (green): right. WRONG (red): not. note (yellow): works, and should be known. ? (yellow):
    could not be found out. Nothing is changed.

    Exit status, for monitoring: 0 nothing is wrong, 1 something is, 2 nothing was found wrong, but
    not everything could be looked at.
    """
    side = side or ("host" if vms or not _is_guest() else "guest")
    findings = _host(vms) if side == "host" else _guest()
    if as_json:
        told = {
            "side": side,
            "status": status(findings),
            "findings": [finding.as_json() for finding in findings],
        }
        click.echo(json.dumps(told, indent=2))
    else:
        shown = [finding for finding in findings if not quiet or finding.state != GOOD]
        for finding in shown:
            _print(finding)
    return status(findings)


def _is_guest() -> bool:
    """Whether to look as in a guest: it has the module, or the service, or is a VM of VirtualBox.

    A guest's installation has nothing of a host's; a checkout has both.
    """
    if not on_host():
        return True
    try:
        return Path("/sys/class/dmi/id/product_name").read_text().strip() == "VirtualBox"
    except OSError:
        return False


def _guest() -> list[Finding]:
    from guest_service.doctor import Guest, examine

    return examine(Guest())


def _host(vms: tuple[str, ...]) -> list[Finding]:
    from host_service.doctor import Host, examine

    return examine(Host(vms))


def _print(finding: Finding) -> None:
    word, colour = _WORDS[finding.state]
    # click leaves colours out where the output is no terminal.
    click.echo(
        f"{click.style(word.ljust(6), fg=colour)} {printable(finding.what)}: "
        f"{printable(finding.says)}"
    )
    if finding.mend:
        click.echo(f"       mend: {printable(finding.mend)}")
