"""The cache: made once, made whole, made anew when broken."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from sparc_lab.cache import Cache, Entry


class _Recipe:
    """A recipe that counts how often it is followed."""

    def __init__(self, *sources: str, fail: bool = False, seconds: float = 0) -> None:
        self.made = 0
        self.fail = fail
        self.seconds = seconds
        self.entry = Entry("thing", sources, ("product",), self._make)

    def _make(self, path: Path, log: Path) -> None:
        self.made += 1
        assert list(path.iterdir()) == []
        (path / "product").write_text("half")
        time.sleep(self.seconds)
        if self.fail:
            raise RuntimeError("interrupted")
        (path / "product").write_text("whole")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path)


def test_a_second_call_does_nothing(cache: Cache) -> None:
    recipe = _Recipe("a")
    started: list[str] = []
    first = cache.get(recipe.entry, lambda: started.append("x"))
    assert cache.get(recipe.entry, lambda: started.append("x")) == first
    assert (recipe.made, started) == (1, ["x"])
    assert (first / "product").read_text() == "whole"


def test_other_sources_are_another_entry(cache: Cache) -> None:
    assert cache.get(_Recipe("a").entry) != cache.get(_Recipe("b").entry)


def test_what_was_interrupted_is_made_anew(cache: Cache) -> None:
    recipe = _Recipe("a", fail=True)
    with pytest.raises(RuntimeError):
        cache.get(recipe.entry)
    assert not cache.path(recipe.entry).exists()
    recipe.fail = False
    assert (cache.get(recipe.entry) / "product").read_text() == "whole"


@pytest.mark.parametrize("harm", ["cut", "changed", "removed", "unsealed", "emptied"])
def test_what_is_broken_is_made_anew(cache: Cache, harm: str) -> None:
    recipe = _Recipe("a")
    path = cache.get(recipe.entry)
    product = path / "product"
    if harm == "cut":
        product.write_text("who")
    elif harm == "changed":
        time.sleep(0.01)
        product.write_text("wrong")
    elif harm == "removed":
        product.unlink()
    elif harm == "unsealed":
        (path / ".complete").unlink()
    else:
        (path / ".complete").write_text("")
    assert (cache.get(recipe.entry) / "product").read_text() == "whole"
    assert recipe.made == 2


def test_what_nobody_used_for_days_is_dropped_by_its_successor(cache: Cache) -> None:
    unused, used = _Recipe("unused"), _Recipe("used")
    for recipe in (unused, used):
        os.utime(cache.get(recipe.entry), (0, 0))
    assert cache.get(used.entry).stat().st_mtime > 0
    cache.get(_Recipe("successor").entry)
    assert cache.whole(used.entry)
    assert not cache.path(unused.entry).exists()


def test_what_only_begins_with_its_name_is_not_dropped(cache: Cache) -> None:
    longer = Entry("thing-larger", ("a",), (), lambda path, log: None)
    os.utime(cache.get(longer), (0, 0))
    cache.get(_Recipe("a").entry)
    assert cache.path(longer).exists()


def test_two_users_at_once_make_it_once(cache: Cache) -> None:
    recipe = _Recipe("a", seconds=0.2)
    seen: list[str] = []

    def use() -> None:
        seen.append((cache.get(recipe.entry) / "product").read_text())

    users = [threading.Thread(target=use) for _ in range(4)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert (recipe.made, seen) == (1, ["whole"] * 4)
