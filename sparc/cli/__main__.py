"""`python -m sparc.cli`, the same as `sparc`."""

from sparc.cli.main import main

main()
