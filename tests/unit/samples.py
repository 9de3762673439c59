"""Names that the unit tests share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sparc.audit.report import Report

DATA = Path(__file__).parent / "data"
SAMPLES = ("plain", "live", "savestate")

Search = Callable[[Path, Sequence[bytes]], Report]
Pages = dict[int, bytes]
Make = Callable[..., Path]
