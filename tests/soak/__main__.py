"""Whatever may happen to a guarded machine, in a random order, for as long as one likes.

`python -m tests.soak --minutes 120 [--seed N]`; `make soak` runs two hours. After each step the
invariants are checked; the first that does not hold ends the run with status 1 and the seed and the
step that it came to. The same seed takes the same steps again. Prints what was done, as JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import traceback

from sparc_lab import Lab, LabError

from tests.e2e.conftest import SIZE
from tests.e2e.guarded import furnished
from tests.soak.steps import Soak
from tools.protect import install_pack


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with Lab(owned=True) as lab:
        stored = furnished(lab, SIZE)
        install_pack(lab)
        with Soak.up(lab, SIZE, stored) as soak:
            assert isinstance(soak, Soak)
            sys.exit(run(soak, options.seed, time.monotonic() + 60 * options.minutes))


def run(soak: Soak, seed: int, end: float) -> int:
    """Take steps until then; 0, or 1 if something does not hold."""
    soak.begin(random.Random(seed))
    number = 0
    try:
        while time.monotonic() < end:
            number += 1
            soak.step()
    except (AssertionError, LabError):
        traceback.print_exc()
        print(soak.machine.state(), *soak.log().splitlines()[-40:], sep="\n", file=sys.stderr)
        print(f"seed {seed}, step {number}", file=sys.stderr)
        return 1
    finally:
        print(json.dumps({"seed": seed, "steps": number, **soak.done}, sort_keys=True), flush=True)
    return 0


if __name__ == "__main__":
    main()
