"""Containers, by the names that their managers give to control groups."""

from __future__ import annotations

import json
import os

__all__ = ["Container", "name_of", "of"]

_ID_LENGTH = 64
_SHORTEST_ID = 12
_HEX = frozenset("0123456789abcdef")
_MOST = 1 << 22

_DOCKER = "/var/lib/docker/containers"
_PODMAN = "/var/lib/containers/storage/overlay-containers/containers.json"


class Container:
    """A container: its `id`, or its `name` where the group tells that; the other one is ""."""

    __slots__ = ("id", "name")

    def __init__(self, id: str, name: str) -> None:
        self.id = id
        self.name = name

    def begins(self, text: str) -> bool:
        """Whether its id begins so, long enough to mean this one."""
        return len(text) >= _SHORTEST_ID and self.id.startswith(text)


def of(cgroup: str) -> Container | None:
    """The innermost container that a group is of or in."""
    for part in reversed(cgroup.split("/")):
        if part.startswith("lxc.payload."):
            return Container("", part.removeprefix("lxc.payload."))
        if part.startswith("machine-") and part.endswith(".scope"):
            return Container("", _unescaped(part[len("machine-") : -len(".scope")]))
        if part.startswith("systemd-nspawn@") and part.endswith(".service"):
            return Container("", _unescaped(part[len("systemd-nspawn@") : -len(".service")]))
        # docker-ID.scope, libpod-ID.scope, cri-containerd-ID.scope, crio-ID.scope; or the id alone.
        last = part.removesuffix(".scope").rpartition("-")[2]
        if len(last) == _ID_LENGTH and _HEX.issuperset(last):
            return Container(last, "")
    return None


def _unescaped(name: str) -> str:
    """As systemd-escape does it."""
    parts = name.replace("-", "/").split("\\x")
    found = parts[0]
    for part in parts[1:]:
        try:
            found += chr(int(part[:2], 16)) + part[2:]
        except ValueError:
            found += "\\x" + part
    return found


def name_of(id: str, docker: str = _DOCKER, podman: str = _PODMAN) -> str:
    """What root's Docker or Podman calls the container of that id, or "".

    To be run in a child of the service: their files hold the containers' environment.
    """
    told = _json(f"{docker}/{id}/config.v2.json")
    if isinstance(told, dict) and isinstance(told.get("Name"), str):
        return str(told["Name"]).removeprefix("/")
    listed = _json(podman)
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, dict) and entry.get("id") == id:
            names = entry.get("names")
            return str(names[0]) if isinstance(names, list) and names else ""
    return ""


def _json(path: str) -> object:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            told: object = json.loads(file.read(_MOST))
            return told
    except (OSError, ValueError, RecursionError):
        return None
