"""Runs in the tree where VirtualBox is: ``vbox_api.py press|snapshot MACHINE ORDER-FILE``."""

import sys
from pathlib import Path

import vboxapi


def main() -> None:
    action, name, order = sys.argv[1:]
    text = Path(order).read_text()
    manager = vboxapi.VirtualBoxManager(None, None)
    session = manager.getSessionObject(manager.getVirtualBox())
    manager.getVirtualBox().findMachine(name).lockMachine(
        session, manager.constants.LockType_Shared
    )
    try:
        if action == "press":
            codes = [int(code) for code in text.split()]
            while codes:
                sent = session.console.keyboard.putScancodes(codes)
                codes = codes[sent:]
        elif action == "snapshot":
            progress, _ = session.machine.takeSnapshot(text, "", True)
            progress.waitForCompletion(-1)
            if progress.resultCode != 0:
                sys.exit(progress.errorInfo.text)
        else:
            sys.exit(f"no action {action}")
    finally:
        session.unlockMachine()


main()
