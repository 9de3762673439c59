"""The documentation in the packages: pages, and what they lead to."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from sparc_lab.processes import run

_PROJECT = Path(__file__).parents[2]
_THERE = PurePosixPath("./usr/share/doc/sparc-common")


def test_each_link_of_a_page_leads_to_what_is_there(debs: Path) -> None:
    (package,) = (debs / "now").glob("sparc-common_*.deb")
    listed = run(["dpkg-deb", "-c", str(package)]).splitlines()
    names = {str(PurePosixPath(line.split()[5])) for line in listed}
    linked = set()
    for page in (_PROJECT / "docs").glob("*.md"):
        linked |= {
            path for path in re.findall(r"\]\((?!https?:)([\w./-]+)", page.read_text()) if path
        }
    assert sum(path.endswith((".png", ".svg")) for path in linked) > 5
    assert {str(_THERE / "docs" / path) for path in linked} <= names
    assert str(_THERE / "README.md") in names
