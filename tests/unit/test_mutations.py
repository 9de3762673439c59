"""The table of mutations is about the sources as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutations.table import MUTATIONS, Mutation

_PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.protection)
def test_what_it_changes_stands_there_once_and_its_test_exists(mutation: Mutation) -> None:
    assert (_PROJECT / mutation.file).read_text().count(mutation.right) == 1
    file, _, name = mutation.test.partition("::")
    text = (_PROJECT / file).read_text()
    assert not name or f"def {name.partition('[')[0]}(" in text
