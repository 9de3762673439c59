"""Second part: a database in the guest, and one query."""

from __future__ import annotations

import random
from collections.abc import Sequence

from sparc_lab import Lab, LabError
from sparc_lab.processes import wait_for

from tools.demo.database import disk
from tools.demo.guest import Guest, complaints
from tools.demo.places import Finding

__all__ = ["show"]

_PEOPLE = 200
_QUERY = "SELECT * FROM EMPLOYEE"
_TERMINAL = "tty2"
_PLACE = "/opt/postgresql"
_SECONDS = 300
# The loop device would cache files a second time, and nobody has those open.
_INSTALL = f"""
    set -e
    echo postgres:x:900:900::/:/bin/sh >>/etc/passwd
    echo postgres:x:900: >>/etc/group
    mkdir {_PLACE}
    install -d -o 900 -g 900 /run/postgresql
    mount -t ext4 "$(losetup --direct-io=on --show -f /root/postgresql.disk)" {_PLACE}
    cat >/usr/local/bin/postgres <<'END'
#!/bin/sh
export LD_LIBRARY_PATH={_PLACE}/lib
cd /
exec setpriv --reuid 900 --regid 900 --clear-groups {_PLACE}/lib/postgresql/15/bin/postgres "$@"
END
    cat >/usr/local/bin/psql <<'END'
#!/bin/sh
export LD_LIBRARY_PATH={_PLACE}/lib
{_PLACE}/lib/postgresql/15/bin/psql -h /run/postgresql -U postgres -P pager=off "$@"
: >/run/psql-ended
END
    chmod 755 /usr/local/bin/postgres /usr/local/bin/psql
"""
_SERVE = f"""
    (setsid sparc run -- postgres -D {_PLACE}/data </dev/null >/var/log/postgresql.log 2>&1 &)
    until grep -q 'ready to accept' /var/log/postgresql.log; do
        grep FATAL /var/log/postgresql.log >&2 && exit 1
        sleep 1
    done
"""
_SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]


def show(lab: Lab, guest: Guest) -> list[str]:
    """Two snapshots after a query, with and without sparc; what is wrong."""
    names = _made_up_names(_PEOPLE)
    guest.step(f"making a database of {_PEOPLE} employees on the host")
    image = disk(lab, names)
    guest.step("giving it to the guest; there: sparc run -- postgres")
    guest.machine.put(image, "/root/postgresql.disk")
    guest.sh(_INSTALL)
    guest.sh(_SERVE)
    guest.say(f"sparc exclude --tty {_TERMINAL}")
    _query(guest)
    path, guarded = guest.checkpoint("database", names)
    wrong = complaints(path)
    guest.say(f"sparc include --user postgres --tty {_TERMINAL}")
    # Without exclusions nothing is prepared; off, lest even free memory be kept out.
    guest.machine.manage("setextradata", guest.machine.name, "SPARC/Policy", "off")
    _query(guest)
    _, alone = guest.checkpoint("database alone", names)
    _print_table(alone, guarded)
    wrong += ["the database's names did not reach the guest"] * (_known(alone) < _PEOPLE)
    return wrong + ["the checkpoint holds names of the database"] * bool(guarded)


def _made_up_names(many: int) -> list[str]:
    """Other ones each time: constants might stand in the guest for other reasons."""
    draw = random.SystemRandom()

    def word() -> str:
        return "".join(draw.choices(_SYLLABLES, k=4)).title()

    return [f"{word()} {word()}" for _ in range(many)]


def _query(guest: Guest) -> None:
    guest.step(f"at the guest's {_TERMINAL}: psql -c '{_QUERY}'")
    guest.sh("rm -f /run/psql-ended")
    guest.machine.type(_TERMINAL, f"psql -c '{_QUERY}'\n")
    ended = lambda: guest.sh("[ -e /run/psql-ended ] && echo yes || echo no") == "yes"  # noqa: E731
    if not wait_for(ended, timeout=_SECONDS, step=2):
        raise LabError("the query did not end", "is the machine very busy?")


def _known(findings: Sequence[Finding]) -> int:
    return len({one.secret for one in findings})


def _print_table(alone: Sequence[Finding], guarded: Sequence[Finding]) -> None:
    print()
    print(f"  {_QUERY:32}{'VirtualBox alone':>18}{'sparc':>18}")
    print(f"  {f'names found, of {_PEOPLE}':32}{_known(alone):18}{_known(guarded):18}")
    print(f"  {'times they stand there':32}{len(alone):18}{len(guarded):18}")
    print()
