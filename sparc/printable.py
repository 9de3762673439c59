"""Words and numbers for people: text from elsewhere made safe to show, and readable sizes."""

from __future__ import annotations

__all__ = ["duration", "printable", "size"]


def printable(text: str) -> str:
    """The text on one line, with whatever could steer a terminal written out as ``\\x1b``."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def size(count: int) -> str:
    """Bytes for people: 128 MiB, 4.5 KiB."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.1f}".removesuffix(".0") + f" {unit}"
        value /= 1024
    return ""


def duration(microseconds: int) -> str:
    """A time for people: 850 us, 12.3 ms, 2.5 s."""
    if microseconds < 1000:
        return f"{microseconds} us"
    if microseconds < 1_000_000:
        return f"{microseconds / 1000:.1f} ms"
    return f"{microseconds / 1_000_000:.1f} s"
