"""The service with its socket, on a device that is none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from guest.fakes import FakeDevice, FakeFreezer

from guest_service.checkpoint import Checkpoints
from guest_service.client import ask
from guest_service.commands import Commands
from guest_service.daemon import Service
from guest_service.device import Device
from guest_service.freezer import Freezer
from guest_service.history import History
from guest_service.log import Log

__all__ = ["Bench"]


class Bench:
    """A running one; `device` notes what it is asked."""

    def __init__(self, folder: Path) -> None:
        self.device = FakeDevice()
        device = cast(Device, self.device)
        freezer = FakeFreezer(self.device.log)
        self.history = History(str(folder / "history"))
        self.path = str(folder / "sock")
        self.commands = Commands(device, self.history, None)
        checkpoints = Checkpoints(device, cast(Freezer, freezer), self.history, Log(), 2.0)
        self.service = Service(device, checkpoints, self.commands, self.path)
        self.thread = threading.Thread(target=self.service.run)
        self.thread.start()

    def close(self) -> None:
        """End it."""
        self.service.stop()
        self.thread.join(10)
        self.service.close()
        self.device.close()

    def ask(self, command: str, files: Sequence[int] = (), **fields: object) -> dict[str, Any]:
        """The reply to a request."""
        return ask({"command": command, **fields}, self.path, files)

    def connect(self) -> socket.socket:
        """A connection on which nothing was said yet."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.path)
        connection.settimeout(10)
        return connection
