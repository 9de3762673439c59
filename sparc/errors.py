"""Everything that can go wrong for a user of this package, as one tree.

An exception carries what happened as fields; only the command line puts it into words. So a
library user can act on the cause, and no message can leak a secret by accident.
"""

from __future__ import annotations

__all__ = [
    "ClusterError",
    "Damaged",
    "GuestError",
    "KernelNotRead",
    "LimitExceeded",
    "NotASavedState",
    "NotReadable",
    "PageNotStored",
    "SavError",
    "ScrubError",
    "SecretsError",
    "SparcError",
    "UnitNotFound",
    "Unsupported",
]


class SparcError(Exception):
    """The root of the tree."""


class NotReadable(SparcError):
    """A path that cannot be read at all; `cause` is the system's reason or a short noun."""

    offset: int | None = None

    def __init__(self, path: str, cause: str) -> None:
        super().__init__(path, cause)
        self.path = path
        self.cause = cause


class SavError(SparcError):
    """A saved state that cannot be read in full. `offset` is a file offset in bytes, or None."""

    offset: int | None = None


class NotASavedState(SavError):
    """No magic of VirtualBox at the start. `looks` is "encrypted", "empty" or ""."""

    def __init__(self, magic: bytes, looks: str) -> None:
        super().__init__(magic, looks)
        self.magic = magic
        self.looks = looks
        self.offset = 0


class Unsupported(SavError):
    """A valid file of a kind this reader does not know: `what`, its `version`, what is `known`."""

    def __init__(
        self, what: str, version: object, known: object, offset: int | None = None
    ) -> None:
        super().__init__(what, version, known, offset)
        self.what = what
        self.version = version
        self.known = known
        self.offset = offset


class Damaged(SavError):
    """The bytes contradict the format or their checksum: `what` stood wrong at `offset`.

    `expected` and `got` are integers, bytes or None; checksums are integers. `checksum` tells a
    wrong checksum (the structure was still readable) from a wrong structure.
    """

    def __init__(
        self,
        what: str,
        offset: int,
        expected: object = None,
        got: object = None,
        *,
        checksum: bool = False,
    ) -> None:
        super().__init__(what, offset, expected, got)
        self.what = what
        self.offset = offset
        self.expected = expected
        self.got = got
        self.checksum = checksum

    def __reduce__(self) -> tuple[object, ...]:
        return _damaged, (self.checksum, *self.args)


def _damaged(checksum: bool, what: str, offset: int, expected: object, got: object) -> Damaged:
    """For pickle, which knows no names of arguments."""
    return Damaged(what, offset, expected, got, checksum=checksum)


class LimitExceeded(SavError):
    """A bound on memory or time was met: `what` had `got`, at most `limit` is read.

    Both are 0 where only the fact is known.
    """

    def __init__(self, what: str, limit: int, got: int, offset: int | None = None) -> None:
        super().__init__(what, limit, got, offset)
        self.what = what
        self.limit = limit
        self.got = got
        self.offset = offset


class ClusterError(SparcError):
    """A Dask cluster that cannot be searched with; `cause`, and the `advice`."""

    def __init__(self, cause: str, advice: str) -> None:
        super().__init__(cause, advice)
        self.cause = cause
        self.advice = advice


class UnitNotFound(SparcError):
    """No unit of that `name` (and `instance`) stands in the file."""

    def __init__(self, name: str, instance: int | None) -> None:
        super().__init__(name, instance)
        self.name = name
        self.instance = instance


class PageNotStored(SparcError):
    """The file holds no content for this guest-physical `address` (bytes)."""

    def __init__(self, address: int) -> None:
        super().__init__(address)
        self.address = address


class SecretsError(SparcError):
    """The list of secrets cannot be used: `cause`, from which `source` and `line` (from 1)."""

    def __init__(self, cause: str, source: str, line: int | None = None) -> None:
        super().__init__(cause, source, line)
        self.cause = cause
        self.source = source
        self.line = line


class KernelNotRead(SparcError):
    """The guest's kernel cannot be understood from its memory alone; `cause` says why."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class ScrubError(SparcError):
    """A saved state that was not rewritten, and is as it was: `path`, `cause`, `advice`."""

    def __init__(self, path: str, cause: str, advice: str) -> None:
        super().__init__(path, cause, advice)
        self.path = path
        self.cause = cause
        self.advice = advice


class GuestError(SparcError):
    """The guest's service did nothing: the `code`, with `fields` as its reply has them.

    Besides the codes of guest_service.protocol: no-module, no-service, denied, silent (no reply in
    time), connection (`cause`), no-user, no-terminal, no-unit (`value`), own-terminal, no-file
    (`value`, `cause`), nobody.
    """

    def __init__(self, code: str, **fields: object) -> None:
        super().__init__(code, fields)
        self.code = code
        self.fields = fields
