"""What the extension pack costs a machine that has no module: `python -m tools.bench.pack_cost`.

Blocks of snapshots, in turn with the pack and without; prints seconds and the ratio of medians.
"""

from __future__ import annotations

import argparse
import statistics
import time

from sparc_lab import Lab, Settings, VirtualBoxMachine

from tools.protect import install_pack

_NAME = "plain"


def _block(lab: Lab, snapshots: int) -> list[float]:
    """Seconds of each snapshot of a fresh machine, but for the first."""
    machine = lab.up(Settings(_NAME, "virtualbox"))
    assert isinstance(machine, VirtualBoxMachine)
    took = []
    for number in range(snapshots + 1):
        began = time.monotonic()
        machine.checkpoint(f"s{number}")
        took.append(time.monotonic() - began)
    lab.down(_NAME)
    return took[1:]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--snapshots", type=int, default=8)
    options = parser.parse_args()
    times: dict[str, list[float]] = {"without the pack": [], "with the pack": []}
    with Lab(owned=True) as lab:
        for _ in range(options.blocks):
            times["without the pack"] += _block(lab, options.snapshots)
            # With its last machine the lab's VirtualBox goes, and what was installed in it.
            install_pack(lab)
            times["with the pack"] += _block(lab, options.snapshots)
    for name, took in times.items():
        low, high = min(took), max(took)
        print(f"{name:17} median {statistics.median(took):.3f} s ({low:.3f} to {high:.3f})")
    medians = [statistics.median(took) for took in times.values()]
    print(f"ratio             {medians[1] / medians[0]:.3f}")


if __name__ == "__main__":
    main()
