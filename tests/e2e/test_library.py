"""`import sparc` where VirtualBox is installed: the examples in its documentation, run there."""

from __future__ import annotations

import subprocess
import textwrap
from pathlib import Path

from sparc_lab import Lab
from sparc_lab.vboxmanage import TREE, Installation

from tests.e2e.guarded import Guarded

_CHECKOUT = Path(__file__).parents[2]
# Each goes on from the one before.
_EXAMPLES = """
    import doctest, sys, sparc
    for name in ("checkpoint", "saved_state", "restore"):
        (example,) = doctest.DocTestFinder().find(getattr(sparc, name), name, globs={})
        assert example.examples, name
        for line in example.examples:
            line.source = line.source.replace('"web"', repr(sys.argv[1]))
        doctest.DocTestRunner().run(example)
"""


def test_the_examples_are_true(guarded_lab: Lab, guarded: Guarded) -> None:
    python = guarded_lab.install(_CHECKOUT) / "python"
    argv = [str(python), "-c", textwrap.dedent(_EXAMPLES), guarded.machine.name]
    sandbox = guarded_lab.sandbox
    line = sandbox.argv(TREE, argv, Installation(sandbox).variables)
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=1800)
    # What an example said instead of what it should is on standard output.
    assert (done.returncode, done.stdout) == (0, ""), done
    assert "before" in guarded.machine.checkpoints() and guarded.machine.state() == "saved"
    guarded.machine.start(300)
    assert guarded.machine.run(["true"]).status == 0
