"""An audit on a Dask cluster: the result is the same, whoever dies, and the secrets stay inside."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_many import SECRETS, VALUES, alone, archive, same

from sparc.audit import many
from sparc.audit.many import audit_all
from sparc.cli.main import main
from sparc.errors import ClusterError

distributed = pytest.importorskip("distributed", reason="needs Dask: pip install sparc[cluster]")

from sparc.audit import cluster as cluster_module  # noqa: E402
from sparc.audit.cluster import Tls, workers_at  # noqa: E402

# Dask's client and cluster run in threads of this process.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """A certificate that signs for itself."""
    folder = tmp_path_factory.mktemp("tls")
    made = Tls(str(folder / "cert.pem"), str(folder / "cert.pem"), str(folder / "key.pem"))
    request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    files = ["-keyout", made.key, "-out", made.cert, "-days", "2"]
    subprocess.run(["openssl", *request, *files], check=True, capture_output=True)
    return made


@contextlib.contextmanager
def local_cluster(folder: Path, **options: Any) -> Iterator[Any]:
    """Of this machine; its files are in the folder."""
    chosen = {
        "dashboard_address": "127.0.0.1:0",
        "memory_limit": 0,
        "threads_per_worker": 1,
        **options,
    }
    with distributed.LocalCluster(local_directory=str(folder), **chosen) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def spoken(tls: Tls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two worker processes that speak TLS."""
    security = distributed.Security(
        require_encryption=True,
        tls_ca_file=tls.ca_file,
        **{f"tls_{who}_cert": tls.cert for who in ("client", "scheduler", "worker")},
        **{f"tls_{who}_key": tls.key for who in ("client", "scheduler", "worker")},
    )
    folder = tmp_path_factory.mktemp("dask")
    with local_cluster(folder, n_workers=2, protocol="tls://", security=security) as cluster:
        yield cluster


def test_a_worker_that_dies_costs_no_result(
    spoken: Any, tls: Tls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "PAGES", 70)
    paths = archive(tmp_path)
    expected = [alone(path) for path in paths]
    before = dict(spoken.scheduler.workers)
    killed: list[int] = []

    def kill(done: int, total: int) -> None:
        if not killed and done:
            with distributed.Client(spoken, set_as_default=False) as client:
                killed.append(min(client.run(os.getpid).values()))
            os.kill(killed[0], signal.SIGKILL)

    pool = workers_at(spoken.scheduler_address, tls)
    assert same(audit_all(paths, SECRETS, pool, kill), expected)
    assert killed and dict(spoken.scheduler.workers) != before
    # Whoever came in its place can do the work as well.
    with distributed.Client(spoken, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=120)
        assert same(audit_all(paths, SECRETS, pool), expected)
        assert not any(client.run(_left).values())
    assert not spoken.scheduler.tasks and not kept(spoken)


def kept(cluster: Any) -> bytes:
    """What the scheduler has for workers that come later, but for Dask's own."""
    plugins = cluster.scheduler.worker_plugins
    return b"".join(plugins[name] for name in plugins if name != "shuffle")


def _left() -> int:
    """What a worker still knows of jobs."""
    from sparc.audit import tasks

    return len(tasks.JOBS) + len(tasks._matchers)


def test_no_secret_in_what_dask_keeps_or_logs(
    spoken: Any, tls: Tls, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    paths = archive(tmp_path)
    seen: list[str] = []
    looks = itertools.count()

    def look(done: int, total: int) -> None:
        if next(looks) % 8:
            return
        tasks = spoken.scheduler.tasks
        seen.extend(f"{key} {state.run_spec!r} {state.group_key}" for key, state in tasks.items())
        with distributed.Client(spoken, set_as_default=False) as client:
            seen.append(repr(client.get_worker_logs()) + repr(client.get_scheduler_logs()))

    audit_all(paths, SECRETS, workers_at(spoken.scheduler_address, tls), look)
    with distributed.Client(spoken, set_as_default=False) as client:
        client.dump_cluster_state(str(tmp_path / "state"), format="yaml")
    (dump,) = tmp_path.glob("state*")
    everything = " ".join(seen).encode() + dump.read_bytes()
    for file in tmp_path_factory.getbasetemp().glob("dask*/**/*"):
        everything += file.read_bytes() if file.is_file() else b""
    assert b"-unpacked-" in everything
    for value in VALUES:
        for form in (value, value.hex().encode()):
            assert form not in everything
    # Nor where they are searched for.
    assert str(tmp_path).encode() not in " ".join(seen).encode()


def test_the_command_has_one_report(
    spoken: Any, tls: Tls, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = archive(tmp_path)[:2]
    (tmp_path / "secrets").write_bytes(b"\n".join(VALUES))
    words = ["audit", *paths, "--secret-file", str(tmp_path / "secrets")]
    connection = ["--scheduler", spoken.scheduler_address, "--tls-ca-file", tls.ca_file]
    own = ["--tls-cert", tls.cert, "--tls-key", tls.key]
    said = []
    for options in ([], [*connection, *own]):
        with pytest.raises(SystemExit) as end:
            main([*words, *options])
        said.append((end.value.code, *capfd.readouterr()))
    assert said[0] == said[1] and said[0][0] == 1 and not said[0][2]


@pytest.mark.parametrize("limit", ["1GB", 0], ids=["spills", "does not"])
def test_workers_that_spill_are_refused(limit: str | int, tmp_path: Path) -> None:
    paths = archive(tmp_path)[:1]
    options = {"n_workers": 1, "processes": False, "memory_limit": limit}
    with local_cluster(tmp_path, protocol="tcp://", host="127.0.0.1", **options) as cluster:
        pool = workers_at(cluster.scheduler_address)
        if limit:
            with pytest.raises(ClusterError, match="disk"):
                audit_all(paths, SECRETS, pool)
            assert not cluster.scheduler.tasks and not kept(cluster)
        else:
            assert same(audit_all(paths, SECRETS, pool), [alone(paths[0])])


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("tls://192.0.2.1:8786", True),
        ("wss://example.org:80", True),
        ("tcp://127.0.0.1:8786", True),
        ("tcp://[::1]:8786", True),
        ("tcp://192.0.2.1:8786", False),
        ("ws://192.0.2.1:8786", False),
        ("tcp://10.0.0.1:8786", False),
    ],
)
def test_who_might_hear_it(address: str, private: bool) -> None:
    assert cluster_module._private(address) is private


def test_no_scheduler(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "_CONNECT", 1)
    (tmp_path / "secrets").write_bytes(VALUES[0])
    words = ["audit", *archive(tmp_path)[:1], "--secret-file", str(tmp_path / "secrets")]
    with pytest.raises(SystemExit) as end:
        main([*words, "--scheduler", "tcp://127.0.0.1:1"])
    out, err = capfd.readouterr()
    assert (end.value.code, out) == (2, "")
    assert "sparc: no connection to tcp://127.0.0.1:1: " in err
