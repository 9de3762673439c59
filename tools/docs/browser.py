"""Pages as a real browser shows them: headless Chromium, light and dark, at any width."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

__all__ = ["chromium", "shoot"]

_LEAST_WIDTH = 1000
_SECONDS = 300
# Chromium's own numbers for prefers-color-scheme.
_SCHEMES = {"dark": "0", "light": "1"}


def chromium() -> str | None:
    """The path of the browser, None where there is none."""
    return shutil.which("chromium")


def shoot(page: Path, *, scheme: str, width: int, height: int) -> Image.Image:
    """What it shows of a page in the scheme ``light`` or ``dark``: width x height pixels, RGB.

    Raises:
        FileNotFoundError: there is no Chromium.
        RuntimeError: it made no picture.
    """
    browser = chromium()
    if browser is None:
        raise FileNotFoundError("there is no chromium here: apt install chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        frame, shot = Path(folder, "frame.html"), Path(folder, "shot.png")
        # A window has a least width, a frame has none.
        style = f"border:0;width:{width}px;height:{height}px"
        body = f'<body style="margin:0"><iframe src="{page.as_uri()}" style="{style}"></iframe>'
        frame.write_text(f"<!DOCTYPE html>{body}")
        argv = [browser, "--headless", "--disable-gpu", "--disable-dev-shm-usage"]
        argv += ["--no-first-run", "--hide-scrollbars", "--force-device-scale-factor=1"]
        argv += ["--no-sandbox"] * (os.geteuid() == 0)
        argv += [f"--user-data-dir={folder}/profile"]
        argv += [f"--window-size={max(width, _LEAST_WIDTH)},{height}"]
        argv += [f"--blink-settings=preferredColorScheme={_SCHEMES[scheme]}"]
        argv += [f"--screenshot={shot}", frame.as_uri()]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_SECONDS, check=False)
        if not shot.exists():
            raise RuntimeError(done.stderr)
        with Image.open(shot) as image:
            return image.convert("RGB").crop((0, 0, width, height))
