"""What comes over the control sockets: requests to the guest's service; reports, answers of packs.

`python -m tests.fuzz.control FOLDER... [libFuzzer's options]`; what reaches something new goes
into the first folder.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import cast

import atheris

with atheris.instrument_imports(include=["guest_service", "host_service", "sparc"]):
    from guest_service import changes, commands, protocol
    from guest_service.device import Device
    from guest_service.history import History
    from host_service import reports, vm_socket
    from host_service.fields import Malformed

from guest.fakes import FakeDevice

# Somebody without rights, whom no process here belongs to.
_CALLER = changes.Caller(1, 0x7FFF_FFFE, ())
_GUEST, _REPORT, _ANSWER = range(3)


class _Target:
    def __init__(self, folder: Path) -> None:
        self.device = FakeDevice()
        history = History(str(folder / "history"))
        self._commands = commands.Commands(cast(Device, self.device), history, None)

    def __call__(self, data: bytes) -> None:
        """The first byte says whom the rest is said to."""
        if not data:
            return
        side, said = data[0] % 3, data[1:]
        if side == _GUEST:
            self._ask(said)
            return
        try:
            if side == _REPORT:
                reports.parse(said).as_json()
            else:
                vm_socket._parse(said)
        except Malformed:
            pass

    def _ask(self, line: bytes) -> None:
        try:
            request = protocol.decode(line)
        except protocol.BadRequest:
            return
        protocol.encode(self._commands.run(request, _CALLER))
        # Nobody without rights gets anybody else excluded.
        assert not self.device.excluded


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        atheris.Setup(sys.argv, _Target(Path(temporary)))
        atheris.Fuzz()
