"""Debian's own checker of packages."""

from __future__ import annotations

import pytest

from tests.packages.tree import Tree


@pytest.mark.parametrize("clean", ["bookworm"], indirect=True)
def test_lintian_has_nothing_to_say(clean: Tree) -> None:
    clean.sh("apt-get install -y --no-install-recommends lintian", timeout=1800)
    said = clean.sh(f"lintian --fail-on error,warning {clean.files}/debs/now/*.deb", timeout=600)
    assert [line for line in said.splitlines() if line[:2] in ("E:", "W:")] == []
