"""Troubleshooting: each message and each code that a user can see is explained, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator

from messages import MESSAGES, pattern
from pages import DOCS, spans, words_of_c

from guest_service import critical
from sparc import wire
from sparc.cli import guest_words
from sparc.reasons import REASONS

_TROUBLE = (DOCS / "troubleshooting.md").read_text()


def test_each_message_is_explained() -> None:
    told = spans(_TROUBLE)
    missing = [
        f"{file}: {text}"
        for text, file in MESSAGES.items()
        if not any(pattern(text).fullmatch(span) for span in told)
    ]
    assert missing == [], "docs/troubleshooting.md lacks what these mean, and what to do"


# Said in a way that messages.py does not follow.
_BESIDES = {
    "N pages WHY",
    "N pages that were to be kept out have content in the file",
    "checkpoint N: failed (REASON)",
    "checkpoint WHETHER, CLEAN: SENTENCE (CODE)",
    "internal error (TYPE); SPARC_DEBUG=1 shows where, please report it",
    "interrupted",
    "it takes drgn to find out: pip install sparc[scrub]",
    "its report says that something was kept out, but not of this file: WHY",
    "not enough memory",
    "sparc: VM: NAME: its description in VirtualBox does not say so: CAUSE",
    "the audit found what may not be in it, or could not read everything",
    "the file is damaged: a checksum in it is wrong",
    "the group: WHY",
    "the kernel module is not loaded: WHY",
    "the kernel module of before stays loaded, because programs are excluded",
    "the kernel module: WHY",
    "the kernel's lists of it hold more than all memory",
    "the service: WHY",
    "there is no such VM",
    "there is no such file and no such VM",
    "this command needs NAME, which is not installed on this machine",
}
_COLUMNS = ("message", "sentence", "on the host; in the guest", "line", "what", "dialog")


def _explained() -> Iterator[str]:
    """The messages in the tables of the page."""
    for table in re.findall(r"(?:^\|.*\n)+", _TROUBLE, re.M):
        head, _, *rows = [
            [cell.strip() for cell in row.strip("|").split(" | ")] for row in table.splitlines()
        ]
        for column, name in enumerate(head):
            if name.partition(",")[0] in _COLUMNS:
                yield from (span for row in rows for span in spans(row[column]))


def test_no_message_is_explained_that_nobody_says() -> None:
    patterns = [pattern(text) for text in MESSAGES]
    explained = set(_explained())
    assert len(explained) > 250
    stale = {span for span in explained if not any(pattern.fullmatch(span) for pattern in patterns)}
    assert stale == _BESIDES


def test_messages_are_found_in_the_sources() -> None:
    """Else the test above would pass with nothing."""
    assert len(MESSAGES) > 250
    for text in (
        "the VM is not running ({})",
        "the disk controller was in the middle of a transfer",
        "its memory was not found",
        "VirtualBox took a picture of it in an unknown way",
        "must end in .service, .scope or .slice",
        "there is no memory below 16 MB",
    ):
        assert text in MESSAGES


def _codes() -> set[str]:
    guests = [reason.name.lower().replace("_", "-") for reason in wire.Reason]
    assert words_of_c("guest_reasons") == guests
    assert list(REASONS) == guests
    return {*words_of_c("reasons"), *guests, *guest_words._REFUSALS, *guest_words._FAILURES}


def test_each_reason_code_is_explained() -> None:
    codes = _codes()
    assert {"bad-manifest", "write-back", "not-yours", "swap-room"} <= codes
    first = {
        code
        for row in re.findall(r"^\| (`[^|]*) \|", _TROUBLE, re.M)
        for code in re.findall(r"`([\w-]+)`", row)
    }
    assert codes - first == set()


def test_each_reason_to_leave_somebody_out_has_words() -> None:
    """Of `--with-peers`: what the service says, the command line can put into words."""
    assert {*critical._PROGRAMS, "init", "service", "session", "not-yours"} == {*guest_words._LEFT}
