"""What is taken out of the guest's memory for a save is nowhere but in the stash meanwhile, and
afterwards nowhere but in the guest's memory.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.e2e.faulty import Faulty
from tests.e2e.guarded import Guarded, residue
from tests.e2e.process_memory import count, search
from tests.e2e.victims.programs import CLASSES, secret

# What the excluded ones hold in memory that is theirs, each in one piece.
_HELD = {
    name: number
    for number, name in enumerate(CLASSES[: CLASSES.index("unmapped")])
    if name != "freed heap"
}
# Of proc(5): locked in memory; not in a core dump; not in a child.
_FLAGS = {"lo", "dd", "dc"}


def test_in_the_stash_alone_and_then_nowhere(guarded: Guarded, tmp_path: Path) -> None:
    faulty = Faulty(guarded.lab, guarded.machine)
    seed = faulty.hold()
    names = {secret(seed, number).encode(): name for name, number in _HELD.items()}
    words = list(names)
    with faulty.stopped_while_saving("stopped"):
        during = search(faulty.process.pid, words)
    assert {names[word] for word in set().union(*during.values())} == _HELD.keys()
    assert all(mapping.flags >= _FLAGS for mapping in during)
    assert residue(faulty.machine.saved_state("stopped"), seed) == {}

    faulty.machine.pause()
    found = sum(search(faulty.process.pid, words).values(), Counter[bytes]())
    faulty.machine.core(tmp_path / "core")
    faulty.machine.resume()
    assert found == count(tmp_path / "core", words)
    assert {names[word] for word in found} == _HELD.keys()
    faulty.goes_on()
