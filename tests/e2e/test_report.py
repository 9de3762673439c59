"""The page of a checkpoint, looked at in a real browser: light and dark, wide and on a phone.

It needs Chromium and no virtual machine: the checkpoint is made to order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from host.reporting import good_report, head_of, put_beside
from parked import PAGE, parked
from samples import write_state

from host_service.page.memory_map import Class
from host_service.page.picture import COLOURS
from sparc import abi
from sparc.cli.main import main
from tools.docs.browser import chromium, shoot

_PAGES = 4096
_WIDE, _PHONE, _HEIGHT = 1000, 360, 3000
_BACKGROUNDS = {"light": "#ffffff", "dark": "#0d1117"}

Looked = npt.NDArray[np.uint8]
Look = Callable[[str, int], Looked]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of a checkpoint with something of every kind in it, and long names."""
    folder = tmp_path_factory.mktemp("page")
    there = [page for page in range(_PAGES) if not 0xA0 <= page < 0x100]
    drop, stash = range(1000, 3000), range(3000, 3500)
    kinds = (abi.Kind.PIPE, abi.Kind.TTY, abi.Kind.REGISTERS, abi.Kind.OTHER)
    extents = [((500 + 64 * n) * PAGE, 64, kind) for n, kind in enumerate(kinds)]
    pages = {page: bytes(64) + b"x" * (PAGE - 64) for page in there}
    pages |= dict.fromkeys([*drop, *stash, 40], bytes(PAGE))
    excluded = [{"pid": 10_000 + n, "name": f"a-long-name-{n:03}"} for n in range(60)]
    report = {"excluded": excluded, "message": "word" * 200, "extents": len(extents)}
    head = head_of(good_report(**report))
    pages |= {3800: bytes(PAGE)} | parked(_PAGES, drop, stash, extents, head=head)
    pages[3400] = b"left" * (PAGE // 4)
    state = write_state(folder / "one.sav", pages, ram=_PAGES * PAGE)
    put_beside(state, **report)
    secrets = folder / "secrets"
    secrets.write_text("leftleftleftleft\n")
    out = folder / "page.html"
    with pytest.raises(SystemExit) as end:
        main(["report", str(state), "--html", str(out), "--secret-file", str(secrets)])
    assert end.value.code == 1
    return out


@pytest.fixture(scope="module")
def look(page: Path) -> Look:
    """Shows the page in a scheme and at a width; the colours of its points, by row."""
    if chromium() is None:
        pytest.skip("there is no chromium here: apt install chromium")

    def run(scheme: str, width: int) -> Looked:
        return np.asarray(shoot(page, scheme=scheme, width=width, height=_HEIGHT))

    return run


def _count(seen: Looked) -> Counter[str]:
    packed = seen.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    values, counts = np.unique(packed, return_counts=True)
    return Counter({f"#{v:06x}": n for v, n in zip(values.tolist(), counts.tolist(), strict=True)})


@pytest.mark.parametrize("width", [_WIDE, _PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_all_there(look: Look, scheme: str, width: int) -> None:
    seen = look(scheme, width)
    found = _count(seen)
    # The background is what most of it is; each class is drawn, in the map and beside its words.
    assert found.most_common(1)[0][0] == _BACKGROUNDS[scheme]
    # Zeros that nobody asked for are one page alone, which a small picture may blend.
    for kind in set(Class) - {Class.NONE, Class.ZERO, Class.FREE_SAVED}:
        assert found[COLOURS[kind]] >= 20, kind
    # Most of this memory is free or saved: more of the page than any words.
    assert found[COLOURS[Class.FREE_OUT]] > width * width // 5
    # Text: far from the background, and much of it.
    light = seen.astype(int).sum(axis=2)
    assert np.count_nonzero(light < 150 if scheme == "light" else light > 600) > 5000


@pytest.mark.parametrize("width", [_WIDE, _PHONE])
def test_nothing_runs_over_the_edge(look: Look, width: int) -> None:
    edge = look("light", width)[:, width - 8 :]
    assert _count(edge).keys() == {_BACKGROUNDS["light"]}
