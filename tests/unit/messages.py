"""What the program says when something is wrong, collected from its sources.

A message is a text with `{}` where it has words of the moment.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from pages import PROJECT

from guest_service import daemon
from host_service import matching, restore, snapshots
from sparc.cli import guest_words
from sparc.reasons import REASONS

__all__ = ["MESSAGES", "pattern"]

# Which argument of these says what happened.
_RAISED = {
    "BadParameter": 0,
    "Found": 1,
    "HostError": 0,
    "InstallationError": 0,
    "KernelNotRead": 0,
    "Malformed": 0,
    "NoManifest": 0,
    "NotReadable": 1,
    "ScrubError": 1,
    "SecretsError": 0,
    "UsageError": 0,
    "Verdict": 1,
    "VirtualBoxError": 0,
    "_Wrong": 1,
}
# Methods of a log, and of a report on what was left.
_TOLD = {"error": 0, "warning": 0, "leave": 1, "wrong": 3, "_trouble": 0}
_TOLD |= {"_cut": 0, "cut_off": 0, "_begin": 1}
_LOGS = {"log", "_log", "report", "found", "self", "follower"}
# Functions that return, or yield, what is said.
_WORDING = {"_foreign", "_mismatch", "_words", "_damaged", "_not_a_saved_state"}
_WORDING |= {"warnings", "remarks", "_unseen", "_witness"}
_QUOTED = r"\"(?:[^\"\\]|\\.)*\""
# In C, calls that tell something, and statements that say what is wrong.
_TOLD_BY_C = (
    rf"\blog_line\(\s*({_QUOTED})",
    rf"\bpr_(?:err|warn)(?:_ratelimited)?\(\s*({_QUOTED})",
    rf"\b(?:bad\(manifest|unknown\(blank), ({_QUOTED})",
    rf"\bsnprintf\(buffer, room, ({_QUOTED})",
    rf"\"Sparc(?:Checkpoint|Memory)\",\s*({_QUOTED})",
    rf"\[SPARC_REASON_\w+\] = ({_QUOTED})",
)
_STATEMENT = rf"\b(?:return|(?:fault|unusable|missing) =)((?:[^;{{}}\"]|{_QUOTED})*);"
_EACH = re.compile(_QUOTED)


def _in_python(folder: Path) -> dict[str, str]:
    """All messages of the modules below a folder, and the file of each."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text())
        for scope in ast.walk(tree):
            if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
                for text in _of_function(scope):
                    found.setdefault(text, str(path.relative_to(PROJECT)))
    return found


def _of_function(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    local: dict[str, list[ast.expr]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    local.setdefault(target.id, []).append(node.value)
    for node in ast.walk(function):
        said: ast.expr | None = None
        if isinstance(node, ast.Call):
            said = _argument(node)
        elif isinstance(node, ast.Return | ast.Yield) and function.name in _WORDING:
            said = node.value
        for text in _texts(said, local):
            if re.search(r"\w{2}.* .*\w{2}", text.replace("{}", "")):
                yield text


def _argument(call: ast.Call) -> ast.expr | None:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    if isinstance(call.func, ast.Name):
        name = call.func.id
    at = _RAISED.get(name)
    if at is None and isinstance(call.func, ast.Attribute):
        owner = call.func.value
        called = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
        at = _TOLD.get(name) if called in _LOGS else None
        if name == "echo":
            err = any(keyword.arg == "err" for keyword in call.keywords)
            at = 0 if err else None
    return call.args[at] if at is not None and len(call.args) > at else None


def _texts(said: ast.expr | None, local: dict[str, list[ast.expr]]) -> Iterator[str]:
    match said:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts
            )
        case ast.Name(id=name):
            for value in local.get(name, []):
                if not isinstance(value, ast.Name):
                    yield from _texts(value, local)
        case ast.BinOp(left=left, right=right):
            for one in _texts(left, local):
                yield from (one + other for other in _texts(right, local) or [""])
        case ast.BoolOp(values=values):
            for value in values:
                yield from _texts(value, local)
        case ast.IfExp(body=body, orelse=other):
            yield from _texts(body, local)
            yield from _texts(other, local)
        case ast.Call(func=ast.Name(id="printable"), args=[inner, *_]):
            yield from _texts(inner, local)
        case _:
            pass


def _in_c(folder: Path) -> dict[str, str]:
    """The same of C sources right in a folder."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.c")):
        # Strings beside each other are one.
        text = re.sub(r'"\s*\n\s*"', "", path.read_text().replace('PACK_VERSION "', '"%s'))
        quoted = [one for pattern in _TOLD_BY_C for one in re.findall(pattern, text)]
        for statement in re.findall(_STATEMENT, text):
            quoted += _EACH.findall(statement)
        for one in quoted:
            said = re.sub(r"%(?:l{1,2}|z)?[uds]", "{}", one.strip('"').replace("\\n", "").strip())
            if " " in said:
                found.setdefault(said, path.name)
    return found


# Words that are put together from parts, so that none of them is one in the sources.
_COMPOSED = (
    "{}: {}",
    "{}: {}; {}",
    "checkpoint {}, {}: {} ({})",
)


def _messages() -> dict[str, str]:
    found: dict[str, str] = {}
    for folder in ("sparc", "host_service", "guest_service"):
        found |= _in_python(PROJECT / folder)
    for folder in ("kmod", "host_service/extpack"):
        found |= _in_c(PROJECT / folder)
    for table in (
        guest_words._REFUSALS,
        guest_words._FAILURES,
        guest_words._LEFT,
        REASONS,
        daemon._WORDS,
    ):
        texts = [re.sub(r"\{\w*\}", "{}", text) for text in table.values() if text]
        found |= dict.fromkeys(texts, "a table of words")
    found |= dict.fromkeys((cause for cause, _ in restore._LOST.values()), "restore.py")
    found[guest_words.INCOMPLETE] = "guest_words.py"
    found[snapshots._BUSY] = "snapshots.py"
    whys = (matching._OTHER, matching._UNREAD, matching._VERSION)
    found |= dict.fromkeys(whys, "matching.py")
    return {text: file for text, file in found.items() if text not in _COMPOSED}


def pattern(message: str) -> re.Pattern[str]:
    """What fits a message with words in place of its marks."""
    parts = [re.escape(part) for part in re.split(r"\{\}|%[ds]", message)]
    return re.compile(".*".join(parts))


MESSAGES = _messages()
"""All, with the file that each is from."""
