"""The page of one checkpoint."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from xml.etree.ElementTree import Element

from host_service.page.html import el, page_text
from host_service.page.memory_map import Class, MemoryMap
from host_service.page.picture import COLOURS, Picture, draw
from host_service.reports import Report
from host_service.verdict import Verdict
from host_service.words import STEPS
from sparc.kinds import KINDS
from sparc.printable import duration, size

__all__ = ["Audited", "Subject", "document"]

_PAGE = 4096
_PROGRAMS = 200
_TICKS = 4

_CLASSES = {
    Class.SAVED: "saved",
    Class.ZERO: "zeros in the file, and not asked to be kept out",
    Class.OUT: "kept out: whole pages of the excluded programs",
    Class.CHANNELS: "kept out in parts: pipes and sockets",
    Class.TERMINALS: "kept out in parts: terminals",
    Class.REGISTERS: "kept out in parts: registers",
    Class.PARTS: "kept out in parts: other data of the kernel",
    Class.FREE_OUT: "free memory, zeros in the file",
    Class.FREE_SAVED: "free memory, saved with what stood in it",
    Class.NOT_OUT: "was to be kept out, but has content in the file",
    Class.NONE: "no memory of the guest's (ROMs, balloon)",
}


@dataclass(frozen=True)
class Audited:
    """What an audit said: in words, without the secrets."""

    clean: bool
    lines: list[str]


@dataclass(frozen=True)
class Subject:
    """What the page is about. `problem` says what of the file could not be trusted, or is ""."""

    title: str
    state_file: Path
    bytes: int
    virtualbox: str
    live: bool
    cpus: int
    problem: str
    verdict: Verdict
    memory: MemoryMap
    audited: Audited | None
    made: datetime

    @property
    def why_not_clean(self) -> str:
        """Why the checkpoint is not clean, all that is known together, or ""."""
        if self.problem:
            return self.problem
        if count := self.memory.counts().get(Class.NOT_OUT, 0):
            return f"{count} pages that were to be kept out have content in the file"
        if not self.verdict.clean:
            return self.verdict.why
        if self.memory.unasked and self.verdict.report and self.verdict.report.reason == "ok":
            # As where another file took the place of the one that it was written on.
            absent = self.memory.manifest_absent
            return f"its report says that something was kept out, but not of this file: {absent}"
        if self.audited is not None and not self.audited.clean:
            return "the audit found what may not be in it, or could not read everything"
        return ""


def document(subject: Subject) -> str:
    """HTML: one file, that needs nothing else and runs nothing."""
    css = Path(__file__).with_name("page.css").read_text()
    report = subject.verdict.report
    return page_text(
        f"{subject.title} - sparc",
        css,
        el("h1", subject.title),
        _verdict(subject),
        _facts(subject, report),
        *_map(subject.memory),
        *_kinds(report),
        *_timeline(report),
        *_audit(subject.audited),
        el("p", f"Made by sparc, {_time(subject.made)}.", class_="soft"),
    )


def _verdict(subject: Subject) -> Element:
    why = subject.why_not_clean
    word = el("b", "NOT CLEAN" if why else "Clean")
    return el(
        "p", word, f": {why or subject.verdict.why}", class_=f"verdict {'bad' if why else 'good'}"
    )


def _facts(subject: Subject, report: Report | None) -> Element:
    facts = [("File", f"{subject.state_file}, {size(subject.bytes)}")]
    if report:
        facts.append(("VM", f"{report.vm_name} ({report.vm_uuid})"))
        facts.append(("Taken", f"{_time(report.time)}, policy {report.policy}"))
    kind = "live save" if subject.live else "save of a stopped VM"
    by = "Hypervisor" if subject.virtualbox.startswith("QEMU") else "VirtualBox"
    facts.append((by, f"{subject.virtualbox}, {kind}"))
    ram = size(sum(length for _, length in subject.memory.ranges))
    facts.append(("Guest", f"{ram} of RAM, CPUs: {subject.cpus or 'unknown'}"))
    if report:
        facts.append(("Excluded", _programs(report)))
        screen = {"keep": "kept", "text": "its text kept out", "all": "kept out"}
        facts.append(("Screen", screen[report.display]))
        facts.append(("Devices", f"{report.device_values} values blanked"))
    return el(
        "dl",
        *(el(tag, text) for pair in facts for tag, text in zip(("dt", "dd"), pair, strict=True)),
    )


def _programs(report: Report) -> str:
    names = [f"{process.name} ({process.pid})" for process in report.excluded[:_PROGRAMS]]
    if len(report.excluded) > _PROGRAMS:
        names.append(f"{len(report.excluded) - _PROGRAMS} more")
    return ", ".join(names) or "no program"


# -- the map


def _map(memory: MemoryMap) -> Iterator[Element]:
    yield el("h2", "The guest's memory")
    if not len(memory.classes):
        yield el("p", "There is none in the file.")
        return
    picture, counts = draw(memory.classes), memory.counts()
    told = ", ".join(
        f"{_CLASSES[kind]}: {size(counts[kind] * _PAGE)}" for kind in _CLASSES if kind in counts
    )
    image = el(
        "img",
        src="data:image/png;base64," + b64encode(picture.png).decode(),
        width=str(picture.width),
        height=str(picture.height),
        style="height: auto",
        alt=f"A map of guest memory. {told}.",
    )
    axis = el("div", *(el("span", text) for text in _axis(memory, picture)))
    yield el("figure", el("div", axis, image, class_="map"), el("figcaption", _caption(picture)))
    total = len(memory.classes)
    rows = [
        el(
            "tr",
            el("td", el("span", class_="swatch", style=_swatch(kind)), _CLASSES[kind]),
            _number(f"{counts[kind]}"),
            _number(size(counts[kind] * _PAGE)),
            _number(f"{counts[kind] / total:.1%}"),
        )
        for kind in _CLASSES
        if kind in counts
    ]
    yield _table(("", "pages", "their size", "share"), rows)
    for note in _notes(memory):
        yield el("p", note, class_="soft")


def _swatch(kind: Class) -> str:
    return "" if kind is Class.NONE else f"background: {COLOURS[kind]}"


def _axis(memory: MemoryMap, picture: Picture) -> Iterator[str]:
    row = picture.width * picture.pages
    for tick in range(_TICKS):
        yield size(memory.address(picture.height * tick // _TICKS * row))
    yield size(sum(memory.ranges[-1]))


def _caption(picture: Picture) -> str:
    row = size(picture.width * picture.pages * _PAGE)
    told = f"From the lowest address at the top on; each row is {row}, each point "
    if picture.pages == 1:
        return f"{told}a page of 4 KiB."
    return (
        f"{told}{picture.pages} pages of 4 KiB: where these differ, it shows what was kept out "
        "before what was saved."
    )


def _notes(memory: MemoryMap) -> Iterator[str]:
    if not memory.manifest_absent:
        yield (
            "What was to be kept out is the guest's own list, read from its memory in the file; "
            "that nothing but zeros stands there was looked at page by page. The list does not "
            "tell the kinds of whole pages apart: the table of kinds counts them."
        )
        return
    if memory.module:
        yield f"Which pages were kept out is not known: {memory.manifest_absent}."
    else:
        yield "Nothing was kept out: sparc did not run in the guest."
    if memory.free_unknown:
        yield f"Which pages are free memory is not known: {memory.free_unknown}."
    else:
        yield "Free memory is what the guest's own kernel, in the file, has in its lists."


# -- tables


def _number(text: str) -> Element:
    return el("td", text, class_="number")


def _table(head: Iterable[str], rows: Iterable[Element]) -> Element:
    names = [
        el("th", name, **({"class_": "number"} if place else {})) for place, name in enumerate(head)
    ]
    table = el("table", el("thead", el("tr", *names)), el("tbody", *rows))
    return el("div", table, class_="wide")


def _kinds(report: Report | None) -> Iterator[Element]:
    yield el("h2", "What was kept out, by kind")
    if report is None:
        yield el("p", "There is no report on this checkpoint that can be believed.")
        return
    if not report.kinds:
        yield el("p", "Nothing.")
        return
    known = [kind for kind in KINDS if kind in report.kinds]
    rows = []
    for kind in known + sorted(report.kinds.keys() - KINDS.keys()):
        amount = report.kinds[kind]
        rows.append(
            el(
                "tr",
                el("td", KINDS.get(kind, kind)),
                _number(f"{amount.pages}"),
                _number(size(amount.bytes)),
                _number(size(amount.pages * _PAGE + amount.bytes)),
            )
        )
    yield _table(("kind", "whole pages", "in parts of pages", "together"), rows)


def _timeline(report: Report | None) -> Iterator[Element]:
    yield el("h2", "The checkpoint in time")
    steps = [] if report is None else [step for step in STEPS if step in report.steps_us]
    if report is None or not steps:
        yield el("p", "It is not known how long it took.")
        return
    total = sum(report.steps_us[step] for step in steps)
    rows, at = [], 0
    for step in steps:
        took = report.steps_us[step]
        # In hundredths of a percent: a report's numbers may have any size.
        left, width = (part * 10_000 // max(total, 1) / 100 for part in (at, took))
        bar = el("div", style=f"margin-left: {left:.2f}%; width: {width:.2f}%")
        rows.append(
            el("tr", el("td", STEPS[step]), _number(duration(took)), el("td", bar, class_="time"))
        )
        at += took
    yield el("p", f"{duration(total)} in all.")
    yield _table(("step", "time", ""), rows)


def _audit(audited: Audited | None) -> Iterator[Element]:
    yield el("h2", "The audit")
    if audited is None:
        yield el("p", "None was asked for: sparc report --secret-file FILE searches for secrets.")
        return
    lines: list[Element | str] = []
    for line in audited.lines:
        lines += [el("span", line), el("br")]
    yield el("pre", *lines)


def _time(when: datetime) -> str:
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
