"""What somebody wants out of a saved state."""

from __future__ import annotations

from dataclasses import dataclass, field

from sparc.audit.secrets import Secret

__all__ = ["Request"]


@dataclass(slots=True)
class Request:
    """`pages` are ranges of page numbers (GPA >> 12), `extents` (GPA, bytes); `whole_pages`: not
    only the bytes of a secret, but the pages that it is in. `pids` and `names` are processes'."""

    pages: list[range] = field(default_factory=list)
    extents: list[tuple[int, int]] = field(default_factory=list)
    secrets: list[Secret] = field(default_factory=list)
    whole_pages: bool = False
    screen: bool = False
    free: bool = False
    pids: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
