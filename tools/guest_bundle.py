"""Makes a tar of what a guest needs besides the kernel module: `python -m tools.guest_bundle OUT`.

To be unpacked at the guest's root. OUT may end in .gz. The guest has to have Python 3.11 or newer,
and click for `sparc`.
"""

from __future__ import annotations

import argparse
import gzip
import io
import py_compile
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from guest_service import parts

__all__ = ["write"]

# The one that guests of the lab have; others compile for themselves.
_COMPILED_FOR = (3, 11)


def write(target: Path) -> None:
    """Write the tar, the same one for the same sources."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content, permissions in sorted(_members()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = permissions
            entry.mtime = 0
            archive.addfile(entry, io.BytesIO(content))
    data = buffer.getvalue()
    target.write_bytes(gzip.compress(data, mtime=0) if target.suffix == ".gz" else data)


def _members() -> Iterator[tuple[str, bytes, int]]:
    """Path, content and mode of each file."""
    for name, content, mode in parts.files():
        yield name, content, mode
        if name.endswith(".py") and sys.version_info[:2] == _COMPILED_FOR:
            yield _compiled(content, name)


def _compiled(source: bytes, name: str) -> tuple[str, bytes, int]:
    """What Python would make of it. Never checked against the source: that would cost a look."""
    parent, _, file = name.rpartition("/")
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "source"), Path(folder, "compiled")
        path.write_bytes(source)
        py_compile.compile(
            str(path),
            cfile=str(out),
            dfile=f"/{name}",
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
        tag = sys.implementation.cache_tag
        return f"{parent}/__pycache__/{file.removesuffix('.py')}.{tag}.pyc", out.read_bytes(), 0o644


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    write(parser.parse_args().out)


if __name__ == "__main__":
    main()
