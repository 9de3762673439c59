"""Puts the guest's parts into this machine and takes them out again, below /usr/local.

For where there is no package. Run as `sparc guest install`, or, where there is no click yet, as
`python3 -m guest_service.installation install`.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from guest_service import parts
from guest_service.server import GROUP
from sparc.errors import SparcError
from sparc.printable import printable
from sparc.programs import last_line, run

__all__ = ["InstallationError", "install", "uninstall"]

_PACKAGED = "/usr/sbin/sparc-guestd"
_SERVICE = "sparc-guestd"
_LIBRARY = f"/{parts.LIBRARY}"
_SOURCE = "/usr/src/sparc-{}"
_MODULE = "/lib/modules/{}/updates/sparc.ko"
_HEADERS = "/lib/modules/{}/build"
_STANDARD = ("/etc", *(f"/usr/local/{name}" for name in ("bin", "lib", "sbin", "share")))
# A module takes minutes on a machine that is emulated.
_SECONDS = 3600
_HELD = "the kernel module of before stays loaded, because programs are excluded"


class InstallationError(SparcError):
    """It cannot be done: the `cause`, and the `advice`."""

    def __init__(self, cause: str, advice: str = "") -> None:
        super().__init__(cause, advice)
        self.cause = cause
        self.advice = advice


def install(kernel: str | None = None) -> Iterator[str]:
    """Put everything in, in place of an earlier one; for another `kernel` than the running one
    nothing is started. Yields a line for each thing done.

    Raises:
        InstallationError: it is not in, or not whole.
    """
    running = os.uname().release
    kernel = kernel or running
    _possible(kernel)
    try:
        sources, files = parts.module_sources(), list(parts.files())
    except OSError as error:
        raise InstallationError(
            f"{error.filename} {error.strerror}", "install from a checkout or an image of sparc"
        ) from None
    if shutil.which("dkms"):
        _forget_in_dkms()
        _with_dkms(kernel, sources)
        yield f"the kernel module is built for {kernel}, and by DKMS for each that is installed"
    else:
        _by_itself(kernel, sources)
        yield f"the kernel module is built for {kernel} alone: there is no DKMS"
    if _group():
        yield f"the group {GROUP} is made: sudo adduser USER {GROUP} lets USER exclude programs"
    shutil.rmtree(_LIBRARY, ignore_errors=True)
    for name, content, mode in files:
        _place(f"/{name}", content, mode)
    _bring_click()
    _run([sys.executable, "-m", "compileall", "-q", _LIBRARY])
    _tell_system(enable=True)
    yield "service, command and udev rule are in /usr/local and /etc"
    if kernel != running:
        yield f"nothing was started: {running} runs, not {kernel}"
        return
    if not _unload():
        yield f"{_HELD}: restart the system, or install again when they have ended"
    _start()
    yield "the service runs"


def uninstall() -> Iterator[str]:
    """Take everything out but the group. Yields a line for each thing done.

    Raises:
        InstallationError: not by this user, or it came as a package.
    """
    _ours()
    if os.path.exists("/run/systemd/system"):
        _try(["systemctl", "disable", "--now", _SERVICE])
    elif os.path.exists(f"/etc/init.d/{_SERVICE}"):
        _try([f"/etc/init.d/{_SERVICE}", "stop"])
    if not _unload():
        yield f"{_HELD}: rmmod sparc when they have ended"
    _forget_in_dkms()
    for module in glob.glob(_MODULE.format("*")):
        os.unlink(module)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(module))
        _try(["depmod", module.split("/")[3]])
    shutil.rmtree(_LIBRARY, ignore_errors=True)
    for name in parts.PLACES:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"/{name}")
        _tidy(os.path.dirname(f"/{name}"))
    _tell_system(enable=False)
    for left in [*glob.glob("/run/sparc-guestd.*"), "/var/log/sparc-guestd.log"]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(left)
    shutil.rmtree("/run/sparc", ignore_errors=True)
    yield "kernel module, service, command and udev rule are removed"
    yield f"the group {GROUP} stays, as groups do: delgroup {GROUP}"


def _ours() -> None:
    if os.geteuid() != 0:
        raise InstallationError("only root may do that", "sudo")
    if os.path.exists(_PACKAGED):
        raise InstallationError(
            "this machine has the Debian package sparc-guest", "apt remove sparc-guest"
        )


def _possible(kernel: str) -> None:
    """Whatever would stop us half way is asked for first."""
    _ours()
    lacking = [program for program in ("make", "gcc") if shutil.which(program) is None]
    if lacking:
        raise InstallationError(
            f"the kernel module cannot be built without {' and '.join(lacking)}",
            f"apt install {' '.join(lacking)}",
        )
    if not os.path.isdir(_HEADERS.format(kernel)):
        raise InstallationError(
            f"the headers of the kernel {kernel} are not installed",
            f"apt install linux-headers-{kernel}",
        )
    if not _has_click() and not os.path.isdir(f"{parts.ROOT}/click"):
        raise InstallationError(
            "the system's Python has no click, which the command line needs",
            "apt install python3-click",
        )


def _has_click() -> bool:
    return _try(["/usr/bin/python3", "-I", "-c", "import click"])


def _bring_click() -> None:
    """An image has click with it, for machines that lack it and reach no network."""
    if not _has_click():
        shutil.copytree(f"{parts.ROOT}/click", f"{_LIBRARY}/click")


def _with_dkms(kernel: str, sources: dict[str, bytes]) -> None:
    folder = _SOURCE.format(parts.version())
    _write_sources(folder, sources)
    module = f"sparc/{parts.version()}"
    _run(["dkms", "add", module], "the kernel module")
    _run(
        ["dkms", "install", module, "-k", kernel],
        "the kernel module",
        advice=f"/var/lib/dkms/{module}/build/make.log says more",
    )


def _forget_in_dkms() -> None:
    if shutil.which("dkms"):
        for folder in glob.glob("/var/lib/dkms/sparc/*/source"):
            _try(["dkms", "remove", f"sparc/{folder.split('/')[-2]}", "--all"])
    for folder in glob.glob(_SOURCE.format("*")):
        shutil.rmtree(folder, ignore_errors=True)


def _by_itself(kernel: str, sources: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory(prefix="sparc-") as folder:
        _write_sources(folder, sources)
        _run(["make", "-C", folder, f"KDIR={_HEADERS.format(kernel)}"], "the kernel module")
        with open(f"{folder}/sparc.ko", "rb") as built:
            _place(_MODULE.format(kernel), built.read(), 0o644)
    _run(["depmod", kernel])


def _write_sources(folder: str, sources: dict[str, bytes]) -> None:
    for name, content in sources.items():
        _place(f"{folder}/{name}", content, 0o644)


def _group() -> bool:
    """Make the group; False if it was there."""
    if _try(["getent", "group", GROUP]):
        return False
    _run(["groupadd", "--system", GROUP], "the group")
    return True


def _place(path: str, content: bytes, mode: int) -> None:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    new = f"{path}.new"
    with open(new, "wb") as file:
        file.write(content)
    os.chmod(new, mode)
    os.replace(new, path)


def _tidy(folder: str) -> None:
    """Remove it and those above that are empty then, but for those that a system has anyway."""
    kept = {*_STANDARD, *(["/etc/udev/rules.d"] if shutil.which("udevadm") else [])}
    while folder not in kept:
        try:
            os.rmdir(folder)
        except OSError:
            return
        folder = os.path.dirname(folder)


def _tell_system(*, enable: bool) -> None:
    """Make init and udev see what has changed."""
    if os.path.exists("/run/udev/control"):
        _try(["udevadm", "control", "--reload"])
    if shutil.which("systemctl"):
        if os.path.exists("/run/systemd/system"):
            _try(["systemctl", "daemon-reload"])
        if enable:
            _run(["systemctl", "enable", _SERVICE], "the service")
    elif shutil.which("update-rc.d"):
        _try(["update-rc.d", _SERVICE, *(["defaults"] if enable else ["remove"])])


def _unload() -> bool:
    """End the service, then take the module out; False: it is held by who is excluded."""
    if os.path.exists("/run/systemd/system"):
        _try(["systemctl", "stop", _SERVICE])
    elif os.path.exists(f"/etc/init.d/{_SERVICE}"):
        _try([f"/etc/init.d/{_SERVICE}", "stop"])
    return not os.path.exists("/sys/module/sparc") or _try(["rmmod", "sparc"])


def _start() -> None:
    if not os.path.exists("/sys/module/sparc"):
        _run(
            ["modprobe", "sparc"],
            "the kernel module is not loaded",
            advice="with Secure Boot its key has to be enrolled first: see docs/installing.md",
        )
    if os.path.exists("/run/systemd/system"):
        _run(["systemctl", "restart", _SERVICE], "the service", f"systemctl status {_SERVICE}")
    else:
        _run([f"/etc/init.d/{_SERVICE}", "start"], "the service")


def _try(argv: list[str]) -> bool:
    try:
        _run(argv)
    except InstallationError:
        return False
    return True


def _run(argv: list[str], what: str = "", advice: str = "") -> None:
    try:
        done = run(argv, _SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallationError(f"{argv[0]} does not work: {error}") from None
    if done.returncode:
        raise InstallationError(
            f"{what or argv[0]}: {last_line(done.stderr or done.stdout)}", advice
        )


def main() -> int:
    """The command line for where there is no click; 0, or 2 if it could not be done."""
    doing = {"install": install, "uninstall": uninstall}.get(" ".join(sys.argv[1:]))
    if doing is None:
        sys.stderr.write("Usage: python3 -m guest_service.installation {install|uninstall}\n")
        return 2
    try:
        for line in doing():
            sys.stdout.write(f"{printable(line)}\n")
            sys.stdout.flush()
    except InstallationError as error:
        advice = f"; {error.advice}" if error.advice else ""
        sys.stderr.write(f"sparc: {printable(error.cause + advice)}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
