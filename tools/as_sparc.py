"""The command line under its own name, for click to complete: run it as a file, not with -m."""

import sys

from sparc.cli.main import main

sys.argv[0] = "sparc"
main()
