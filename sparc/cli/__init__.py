"""The command line, `sparc`."""

from sparc.cli.main import main

__all__ = ["main"]
