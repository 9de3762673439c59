"""What bounds a target that is missed, and what was tried; shown only while it is."""

from __future__ import annotations

__all__ = ["NOTES"]

NOTES = {
    "restore of a file in the page cache at most 0.5": (
        "VirtualBox writes zeros into each page that the file has as zero, and the host has yet to"
        " give it the memory for that; it takes not much less than to copy a page out of the page"
        " cache. So sparc's restore takes as long as that of an idle guest (below), and what it"
        " saves is the reading of the file, which costs next to nothing here."
    ),
    "checkpoint at most 1.005": (
        "what sparc adds on the host are the steps stash, zero and put back (below). How long"
        " VirtualBox takes to compress and write the rest differs by more from round to round."
    ),
    "restore at most 1.00": (
        "sparc does nothing while VirtualBox reads a file, which is smaller by what was kept out;"
        " rounds differ by more."
    ),
    "at most 0.35 ms per MB": (
        "each page is copied out, overwritten and copied back by a call of VirtualBox's for each,"
        " and the stash is memory that the host gives page by page, and that is wiped at the end."
        " Several pages a call and huge pages for the stash were not tried yet."
    ),
    "no instructions, within noise": (
        "what the kernel frees is cleared from the module's load on, as `init_on_free=1` does it:"
        " else a program that is excluded later would have left what it freed before. With the"
        " module's parameter `scrub=1` that begins with the first exclusion, and until then the"
        " module costs nothing (below)."
    ),
}
"""By target, as `targets.Target` has it."""
