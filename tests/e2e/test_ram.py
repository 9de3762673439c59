"""The reader against VirtualBox's own account of guest memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sparc_lab import Lab, Settings, VirtualBoxMachine

from sparc.sav.core import differing_pages
from sparc.sav.state import SavedState

_SIZES = [
    (128, 1),
    # Several processors wait for each other where one interprets them all.
    pytest.param((128, 2), marks=pytest.mark.long),
    pytest.param((1024, 1), marks=pytest.mark.long),
    pytest.param((1024, 2), marks=pytest.mark.long),
]
_PAGE = 4096


@pytest.fixture(scope="module", params=_SIZES, ids=lambda size: f"{size[0]}MB-{size[1]}cpu")
def sized(lab: Lab, request: pytest.FixtureRequest) -> Iterator[VirtualBoxMachine]:
    """A machine of each size."""
    memory, cpus = request.param
    machine = lab.up(Settings("sized", "virtualbox", memory, cpus))
    assert isinstance(machine, VirtualBoxMachine)
    yield machine
    lab.down("sized")


@pytest.mark.parametrize("way", ["vboxmanage", "live", "savestate"])
def test_ram_equals_the_core(sized: VirtualBoxMachine, tmp_path: Path, way: str) -> None:
    core = tmp_path / "core"
    if way == "live":
        # Taken while the guest runs: its memory can only be seen by going back to it, held still.
        path = sized.checkpoint(way, way)
        sized.restore(way, paused=True)
        sized.core(core)
        sized.resume()
    else:
        sized.pause()
        sized.core(core)
        path = sized.checkpoint(way, way)
        if way == "savestate":
            sized.restore(way)
        else:
            sized.resume()
    with SavedState(path) as saved:
        assert saved.header.live == (way == "live")
        assert saved.memory.size == sized.settings.memory << 20
        assert saved.memory.cpus == sized.settings.cpus
        compared, differing = differing_pages(saved, core)
    core.unlink()
    assert differing == []
    legacy_window = (0x100000 - 0xA0000) // _PAGE
    assert compared == (sized.settings.memory << 20) // _PAGE - legacy_window
    assert sized.run(["echo", "on"]).text == "on"
