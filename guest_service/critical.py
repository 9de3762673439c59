"""Which processes the system, or a login, cannot go on without: one rule, and its reasons.

They are never taken in as somebody's peers; whoever names one of them still gets it excluded.
"""

from __future__ import annotations

import os

from guest_service import processes

__all__ = ["why"]

# By the name of the program's file: what a process calls itself is its own choice.
_PROGRAMS = {
    "init": "init systemd runit s6-svscan openrc-init",
    "system": (
        "systemd-journald systemd-udevd udevd systemd-logind elogind systemd-networkd "
        "systemd-resolved systemd-timesyncd systemd-machined systemd-userdbd systemd-oomd "
        "NetworkManager wpa_supplicant dhclient polkitd rsyslogd syslogd syslog-ng"
    ),
    "bus": "dbus-daemon dbus-broker dbus-broker-launch",
    "login": "login agetty getty mgetty gdm3 gdm lightdm sddm xdm greetd su sudo doas",
    "display": (
        "Xorg X Xwayland Xvfb Xvnc Xtigervnc gnome-shell mutter kwin_wayland kwin_x11 sway weston "
        "labwc wayfire Hyprland xfwm4 pipewire"
    ),
}
_WHY = {program: reason for reason, names in _PROGRAMS.items() for program in names.split()}


def why(process: processes.Process, service: int) -> str | None:
    """Why a process is critical, in a word (see `sparc.cli.guest_words`); None if it is not.

    `service`: the process that is sparc-guestd. An sshd is critical if it waits for connections;
    one that serves a session is not.
    """
    if process.pid == 1:
        return "init"
    if process.pid == service:
        return "service"
    program = os.fsdecode(processes.program_of(process.pid) or b"")
    if program == "sshd" and process.parent == 1:
        return "login"
    return _WHY.get(program)
