"""What mkdocs.yml cannot say: a page that measurements write is shown where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["on_config"]

_PAGE = "performance.md"


def on_config(config: Any) -> Any:
    """Called by mkdocs before it looks for pages: adds what `make bench` has written."""
    if Path(config["docs_dir"], _PAGE).exists():
        section = next(part for part in config["nav"] if "What it does" in part)
        section["What it does"].append({"Performance": _PAGE})
    return config
