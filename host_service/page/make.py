"""Makes the page of a saved state: reads the file once for the map, judges, draws."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

from host_service import hypervisor, virtualbox
from host_service.page.document import Audited, Subject
from host_service.page.memory_map import map_memory
from host_service.verdict import judge
from sparc.errors import Damaged
from sparc.qemu.state import StreamState
from sparc.qemu.walk import StreamWalk, is_stream
from sparc.sav.state import SavedState
from sparc.sav.stream import Stream
from sparc.sav.walk import Walk

__all__ = ["look_into"]

Progress = Callable[[int, int], None]
Steps = Callable[[str], AbstractContextManager[Progress | None]]


def _walk(state_file: Path) -> Walk:
    stream = Stream(state_file)
    return StreamWalk(stream) if is_stream(stream) else Walk(stream)


def look_into(target: str, state_file: Path, steps: Steps, audited: Audited | None) -> Subject:
    """All that the page of a saved state shows. `target` is the file, or VM[:SNAPSHOT].

    `steps(words)` gives a context that shows a step's progress. Raises HostError, NotReadable and
    SavError; a file whose checksums alone are wrong is shown, and not called clean.
    """
    uuid, title = None, state_file.name
    if Path(target) != state_file:
        title, vm = target, target.partition(":")[0]
        if hypervisor.of(vm) == hypervisor.VIRTUALBOX:
            uuid = virtualbox.find(vm).uuid
    with steps("Reading") as progress, _walk(state_file) as walk:
        walk.on_progress = progress
        walk.run()
        problem = ""
        for found in walk.problems:
            if not (isinstance(found, Damaged) and found.checksum):
                raise found
            problem = "the file is damaged: a checksum in it is wrong"
        state = StreamState.of(walk) if isinstance(walk, StreamWalk) else SavedState.of(walk)
    with state, steps("Looking into the guest") as progress:
        return Subject(
            title=title,
            state_file=state_file,
            bytes=state.size,
            virtualbox=state.header.version,
            live=state.header.live,
            cpus=state.memory.cpus,
            problem=problem,
            verdict=judge(state_file, uuid),
            memory=map_memory(state, progress),
            audited=audited,
            made=datetime.now(UTC),
        )
