"""The reader of saved states. `python -m tests.fuzz.sav FOLDER... [libFuzzer's options]`."""

from __future__ import annotations

import os
import sys

import atheris

with atheris.instrument_imports(include=["sparc"]):
    from sparc.errors import SparcError
    from sparc.sav.state import SavedState

_PAGES = 64
_BYTES = 1 << 20


def _target(data: bytes) -> None:
    memory = os.memfd_create("sav")
    try:
        os.write(memory, data)
        # A wrong checksum would end most of it.
        with SavedState(f"/proc/self/fd/{memory}", verify=False) as state:
            _read(state)
    except SparcError:
        pass
    finally:
        os.close(memory)


def _read(state: SavedState) -> None:
    for unit in state.units:
        size = 0
        for part in state.unit_content(unit):
            size += len(part)
            if size > _BYTES:
                break
    for page in state.ram_pages()[:_PAGES]:
        assert len(state.page(page << 12)) == 4096
    for number, (address, content) in enumerate(state.ram_runs()):
        assert address % 4096 == 0 and len(content) % 4096 == 0
        if number > _PAGES:
            break


if __name__ == "__main__":
    atheris.Setup(sys.argv, _target)
    atheris.Fuzz()
