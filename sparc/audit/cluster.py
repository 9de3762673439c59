"""A Dask cluster as a pool: `pip install sparc[cluster]`, on its workers too.

What is searched for reaches the workers as part of a plugin, which the scheduler keeps in memory
for those that join later. So it is in no task, no key and no result, and in nothing that Dask logs,
shows or spills. Results hold the first and last four bytes of pages, so workers that spill results
to disk are not used, nor connections that others can listen to.
"""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from distributed import Client, Future, Security, Worker
from distributed.comm.addressing import get_address_host, parse_address
from distributed.diagnostics.plugin import WorkerPlugin

from sparc.audit.tasks import JOBS, Job, forget, run
from sparc.errors import ClusterError

__all__ = ["Tls", "workers_at"]

_CONNECT = 10
_SAFE = ("tls", "wss", "inproc")


@dataclass(frozen=True)
class Tls:
    """Files (PEM): who signs for the cluster, and what this client shows for itself."""

    ca_file: str
    cert: str
    key: str


class _Member(WorkerPlugin):
    """Lets a worker take part in a job."""

    def __init__(self, name: str, job: Job) -> None:
        self.name = name
        self.job = job

    def setup(self, worker: Worker) -> None:
        if _spills(worker):
            raise RuntimeError("a worker that spills to disk takes no part in it")
        JOBS[self.name] = self.job

    def teardown(self, worker: Worker) -> None:
        forget(self.name)


class _Workers:
    def __init__(self, name: str, client: Client) -> None:
        self.width = sum(client.nthreads().values())
        self._name = name
        self._client = client

    def submit(self, step: str, number: int, part: int, *args: Any) -> Future[Any]:
        key = f"sparc-{self._name}-{number}-{step}-{part}"
        # What is nearest to its end comes first: its results wait in memory.
        priority = 1 if step == "report" else 0
        return self._client.submit(
            run, self._name, step, number, *args, key=key, priority=priority, pure=False
        )


def workers_at(
    address: str, tls: Tls | None = None
) -> Callable[[Job], AbstractContextManager[_Workers]]:
    """Makes a pool of the workers of the scheduler at an address, for audit_all.

    Without `tls`, Dask's own configuration says how to speak to it. Raises ClusterError when the
    pool is made.
    """

    @contextmanager
    def pool(job: Job) -> Iterator[_Workers]:
        name = secrets.token_hex(8)
        with _connected(address, tls) as client:
            _check(client)
            try:
                client.register_plugin(_Member(name, job), name)
                yield _Workers(name, client)
            finally:
                with contextlib.suppress(OSError):
                    client.unregister_worker_plugin(name)

    return pool


@contextmanager
def _connected(address: str, tls: Tls | None) -> Iterator[Client]:
    security = None
    if tls is not None:
        security = Security(
            require_encryption=True,
            tls_ca_file=tls.ca_file,
            tls_client_cert=tls.cert,
            tls_client_key=tls.key,
        )
    try:
        client = Client(address, timeout=_CONNECT, security=security, set_as_default=False)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        advice = "is it a scheduler's, as in tls://host:8786? with TLS, are the --tls- files right?"
        raise ClusterError(f"no connection to {address}: {cause}", advice) from None
    with client:
        yield client


def _check(client: Client) -> None:
    """Refuse a cluster that others can listen to, or that writes to disk. Raises ClusterError."""
    addresses = [*client.nthreads(), client.scheduler_info()["address"]]
    if len(addresses) == 1:
        raise ClusterError("the cluster has no workers", "start some: dask worker")
    for address in addresses:
        if not _private(address):
            raise ClusterError(
                f"{address} is spoken to without encryption, and would be told the secrets",
                "set the cluster up with TLS (dask scheduler --tls-ca-file ...)",
            )
    own = _version()
    try:
        said = client.run(_ready)
    except (ImportError, AttributeError):
        raise ClusterError(
            "a worker has no sparc, or another version", f"install sparc[cluster] {own} on all"
        ) from None
    for worker, (version, spills) in said.items():
        if version != own:
            cause = f"the worker {worker} has sparc {version}, and this is {own}"
            raise ClusterError(cause, "install the same version on all")
        if spills:
            raise ClusterError(
                f"the worker {worker} may write parts of guests' memory to its disk",
                "start the workers with dask worker --memory-limit 0",
            )


def _private(address: str) -> bool:
    """Whether nobody else hears what is said to it."""
    scheme, _ = parse_address(address)
    if scheme in _SAFE:
        return True
    try:
        return ipaddress.ip_address(get_address_host(address)).is_loopback
    except ValueError:
        return False


def _version() -> str:
    try:
        return metadata.version("sparc")
    except metadata.PackageNotFoundError:
        return "unknown"


def _ready(dask_worker: Worker) -> tuple[str, bool]:
    return _version(), _spills(dask_worker)


def _spills(worker: Worker) -> bool:
    """Whether results may go to its disk: what is in memory alone is in a dict."""
    return not isinstance(worker.data, dict)
