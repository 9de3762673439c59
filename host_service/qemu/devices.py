"""What devices keep of what passed through them, blanked in the stream that QEMU saves a VM in.

They are found by the description at the stream's end, value by value.
"""

from __future__ import annotations

from dataclasses import dataclass

from sparc.errors import Damaged
from sparc.qemu.devices import Device, Value, devices

__all__ = ["Blanked", "blank_devices"]


@dataclass(frozen=True)
class Blanked:
    """All that follows the memory, with values blanked, how many, and the kinds of all devices.

    `fault` says what could not be blanked, or is "".
    """

    data: bytes
    values: int
    kinds: list[str]
    fault: str = ""


@dataclass(frozen=True)
class _Rule:
    """Of a kind of device, the value that is blanked. `used` is one that must be zero: else it is
    in the middle of something, and `words` says of what; "" if that is to be forgotten with it.
    """

    kind: str
    value: str
    used: str = ""
    words: str = ""


_RULES = (
    # The last packet that it sent.
    _Rule("e1000", "tx.data", "tx.size", "the network card was in the middle of a packet"),
    _Rule("e1000", "tx.header", "tx.size", "the network card was in the middle of a packet"),
    # One of these in parts is lost, and sent again, as on any network.
    _Rule("pcnet", "state/buffer"),
    # The last keys.
    _Rule("ps2kbd", "queue.data", "queue.count"),
    _Rule("ps2mouse", "queue.data", "queue.count"),
    _Rule("usb-kbd", "kbd.keycodes", "/n"),
    # The last bytes of a serial line.
    _Rule("serial", "recv_fifo/data", "recv_fifo/num"),
    _Rule("serial", "xmit_fifo/data", "xmit_fifo/num"),
    _Rule("pci-serial", "recv_fifo/data", "recv_fifo/num"),
    _Rule("pci-serial", "xmit_fifo/data", "xmit_fifo/num"),
)
# Such a part is saved only while the processor moves a sector.
_TRANSFER = "ide_drive/pio_state/"


def blank_devices(data: bytes) -> Blanked:
    """Blank what devices keep, in all that follows the memory in a stream."""
    try:
        found = devices(data)
    except Damaged as error:
        return Blanked(data, 0, [], f"the stream's description of them is wrong: {error.what}")
    if not found:
        return Blanked(data, 0, [], "the stream does not describe them")
    work = bytearray(data)
    count, faults = 0, []
    for device in found:
        if any(_TRANSFER in value.name for value in device.values):
            faults.append("the disk controller was in the middle of a transfer")
        for rule in _RULES:
            if rule.kind == device.kind:
                done, fault = _apply(rule, device, work)
                count += done
                faults += [fault] if fault else []
    kinds = [one.kind for one in found]
    return Blanked(bytes(work), count, kinds, "; ".join(dict.fromkeys(faults)))


def _apply(rule: _Rule, device: Device, work: bytearray) -> tuple[int, str]:
    """How many values were blanked, and what is wrong."""
    wanted = [value for value in device.values if value.name.endswith(rule.value)]
    if not wanted:
        return 0, ""
    if not device.whole:
        return 0, f"{device.kind} saves more than is described"
    used = device.value(rule.used) if rule.used else None
    if used is not None and any(work[used.start : used.start + used.size]):
        if rule.words:
            return 0, rule.words
        _zero(work, used)
    for value in wanted:
        _zero(work, value)
    return len(wanted), ""


def _zero(work: bytearray, value: Value) -> None:
    work[value.start : value.start + value.size] = bytes(value.size)
