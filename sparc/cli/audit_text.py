"""An audit's report for people."""

from __future__ import annotations

from collections import Counter, defaultdict

from sparc.audit.report import CLEAN, INCOMPLETE, RESIDUE, Finding, Report
from sparc.printable import printable

__all__ = ["text", "text_of_all"]

_SHOWN = 20


def _where(finding: Finding) -> str:
    if finding.place == "ram":
        where = f"RAM {finding.address:#014x}"
    elif finding.place == "unit":
        where = f"unit {finding.name} offset {finding.address:#x}"
    elif finding.place == "file":
        inside = f", in unit {finding.name}" if finding.name else ""
        where = (
            f"file offset {finding.file_offset:#x}{inside}, outside all content that was understood"
        )
    else:
        where = f"{finding.name} offset {finding.address:#x}"
    if finding.crosses is not None:
        where += f", {finding.cut} bytes, and on at {finding.crosses:#x}"
    if finding.layers:
        where += f", inside {' > '.join(finding.layers)} at {finding.inner:#x}"
    if finding.superseded:
        where += " (a copy that a later pass replaced)"
    return where


def text(report: Report) -> str:
    """Several lines: each secret's findings, then the verdict."""
    lines = []
    by_secret: defaultdict[int, list[Finding]] = defaultdict(list)
    for finding in report.findings:
        by_secret[finding.secret].append(finding)
    cut = set(report.more)
    for secret in report.secrets:
        found = by_secret.get(secret.number, [])
        if not found and secret.number not in cut:
            continue
        more = "more than " if secret.number in cut else ""
        places = f"{more}{len(found)} place{'s' if len(found) > 1 else ''}"
        if not found:
            places = "too many places to tell which"
        lines.append(f"Secret {secret.number} ({secret.source}, line {secret.line}): {places}")
        lines += [f"  {f.encoding:9} {_where(f)}" for f in found[:_SHOWN]]
        if len(found) > _SHOWN:
            lines.append(f"  ... {len(found) - _SHOWN} more; --json lists them")
    hit = len(by_secret.keys() | cut)
    if report.status == CLEAN:
        lines.append(f"clean: none of {len(report.secrets)} secrets is in this checkpoint")
    else:
        lines.append(
            f"residue: {hit} of {len(report.secrets)} secrets found" if hit else "none found"
        )
    if report.status == INCOMPLETE:
        lines.append("not clean: not everything could be read")
    return "\n".join(printable(line) for line in lines)


def text_of_all(reports: list[Report]) -> str:
    """The same for several files, and a verdict on all."""
    lines = []
    for report in reports:
        lines.append(f"{printable(report.path)}:")
        if report.searched:
            lines += [f"  {line}" for line in text(report).splitlines()]
        else:
            lines.append("  not clean: it could not be read")
    counts = Counter(report.status for report in reports)
    parts = [f"{counts[CLEAN]} clean", f"{counts[RESIDUE]} with residue"]
    parts += [f"{counts[INCOMPLETE]} not read whole"] * bool(counts[INCOMPLETE])
    return "\n".join([*lines, f"{len(reports)} checkpoints: {', '.join(parts)}"])
