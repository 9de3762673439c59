"""PostgreSQL made ready on the host, since the guest would take an hour: a disk to be mounted."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from sparc_lab import Lab
from sparc_lab.cache import Entry

__all__ = ["disk"]

_SERVER = "server.tar"
_PACKAGES = (
    "postgresql-15",
    "postgresql-client-15",
    "libicu72",
    "libldap-2.5-0",
    "libpq5",
    "libsasl2-2",
    "libxml2",
)
# Programs, their libraries, and a cluster with one database, in a folder. The server runs as
# anybody but root.
_MAKE = r"""
set -e
cd "$1"
shift
mkdir packages unpacked
apt-get -qq update
(cd packages && apt-get -qq -o APT::Sandbox::User=root download "$@")
for package in packages/*.deb; do dpkg -x "$package" unpacked; done
debian=$PWD/unpacked/usr/lib/postgresql/15
export LD_LIBRARY_PATH=$PWD/unpacked/usr/lib/x86_64-linux-gnu
# The server finds the rest by where it is itself.
mkdir -p server/lib/postgresql/15/bin server/lib/postgresql/15/lib server/share/postgresql/15
cp "$debian/bin/postgres" "$debian/bin/psql" server/lib/postgresql/15/bin
ldd "$debian/bin/postgres" "$debian/bin/psql" | sed -n 's/.* => \(\/.*\) .*/\1/p' | sort -u |
  while read -r library; do
    # The guest has the C library.
    case $library in
      */libc.so.6 | */libm.so.6 | */libresolv.so.2) ;;
      *) cp -L "$library" server/lib ;;
    esac
  done
cp -r unpacked/usr/share/postgresql/15/timezonesets server/share/postgresql/15
mkdir -m 700 server/data
chown 65534:65534 server/data
as_user="setpriv --reuid 65534 --regid 65534 --clear-groups"
$as_user "$debian/bin/initdb" -D server/data -N -A trust -U postgres --no-locale -E UTF8 \
  --wal-segsize=1 >/dev/null
cat >>server/data/postgresql.conf <<'END'
listen_addresses = ''
unix_socket_directories = '/run/postgresql'
shared_buffers = 1MB
max_connections = 5
wal_level = minimal
max_wal_senders = 0
min_wal_size = 2MB
autovacuum = off
jit = off
timezone = GMT
log_timezone = GMT
END
# One database is enough.
for order in "UPDATE pg_database SET datistemplate = false" "DROP DATABASE template0" \
  "DROP DATABASE template1"; do echo "$order"; done |
  $as_user "$debian/bin/postgres" --single -D server/data postgres >/dev/null
tar -cf server.tar server
rm -r packages unpacked server
"""
# An ext4 file system with the server and a table in it. Its journal would keep what it was told.
_FILL = r"""
set -e
cd "$1"
tar -xf server.tar
LD_LIBRARY_PATH=$PWD/server/lib setpriv --reuid 65534 --regid 65534 --clear-groups \
  server/lib/postgresql/15/bin/postgres --single -D server/data postgres <orders >/dev/null
chown -R 900:900 server/data
mke2fs -q -t ext4 -O ^has_journal -d server disk 96M
rm -r server server.tar orders
"""


def disk(lab: Lab, names: Sequence[str]) -> Path:
    """A file system with PostgreSQL 15 and these names in a table EMPLOYEE (ID, NAME, SALARY).

    In ``lib/postgresql/15/bin`` are ``postgres`` and ``psql``, with libraries in ``lib``; the
    cluster is ``data``, of user 900.
    """
    folder = lab.sandbox.files / "postgresql"
    folder.mkdir()
    server = lab.cache.get(Entry("postgresql", (_MAKE, *_PACKAGES), (_SERVER,), _maker(lab)))
    shutil.copy(server / _SERVER, folder)
    rows = ", ".join(f"({n}, '{name}', {n * 12})" for n, name in enumerate(names, 100))
    (folder / "orders").write_text(
        "CREATE TABLE EMPLOYEE (ID int, NAME text, SALARY int)\n"
        f"INSERT INTO EMPLOYEE VALUES {rows}\n"
        "CHECKPOINT\n"
    )
    lab.sandbox.run("tools", ["sh", "-c", _FILL, "sh", str(folder)])
    return folder / "disk"


def _maker(lab: Lab) -> Callable[[Path, Path], None]:
    def make(path: Path, log: Path) -> None:
        work = lab.sandbox.files / "postgresql.new"
        work.mkdir()
        argv = ["sh", "-c", _MAKE, "sh", str(work), *_PACKAGES]
        log.write_text(lab.sandbox.run("tools", argv, timeout=600))
        shutil.move(work / _SERVER, path / _SERVER)
        shutil.rmtree(work)

    return make
