"""Fixtures for all tests: real S3 servers and a real local Ray.

========================  =========================================================
gateway (session)         :class:`tinyworld.s3.S3Gateway`; its credentials and
                          endpoint are in ``os.environ`` from then on, so that Ray
                          workers and child processes find it by the standard chain
gateway_bucket            a new bucket on it
moto_url (session)        endpoint URL of a moto server, which accepts any credentials
moto_bucket               a new bucket on it
fault_proxy               starts a :class:`tests.support.fault_proxy.FaultProxy` in front of a URL
new_clients               storage clients with the credentials of this test's environment
local_ray (session)       Ray on this machine, two CPUs
========================  =========================================================
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from xdist.scheduler import LoadScopeScheduling

from actors.storage.access import driver_client
from actors.storage.s3 import s3_client
from tests.support import services
from tests.support.fault_proxy import FaultProxy
from tinyworld.s3 import S3Gateway

WHOLE_RUNS = ("tests/benchmarks/", "tests/chaos/", "tests/e2e/")

# Before any test module imports Ray or vLLM: both read their settings on import.
services.isolate(os.environ)


class ByFile(LoadScopeScheduling):
    """Shares out the files of tests between the processes of ``-n 2``.

    Whole runs stay in one process: two clusters with engines would only wait for each other's
    processors.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "runs" if nodeid.startswith(WHOLE_RUNS) else nodeid.split("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Gateway]:
    with S3Gateway(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.env.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def gateway_bucket(gateway: S3Gateway) -> str:
    return services.new_bucket(gateway.client())


@pytest.fixture(scope="session")
def moto_url(gateway: S3Gateway) -> Iterator[str]:
    """Depends on the gateway because its credentials serve here as well."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture(scope="session")
def moto_client(moto_url: str) -> Any:
    return boto3.client("s3", endpoint_url=moto_url)


@pytest.fixture
def moto_bucket(moto_client: Any) -> str:
    return services.new_bucket(moto_client)


@pytest.fixture
def fault_proxy() -> Iterator[Callable[..., FaultProxy]]:
    """``fault_proxy(url, seed=0)`` starts a proxy that ends with the test."""
    with contextlib.ExitStack() as stack:

        def start(upstream: str, *, seed: int = 0) -> FaultProxy:
            return stack.enter_context(FaultProxy(upstream, seed=seed))

        yield start


@pytest.fixture
def new_clients() -> Iterator[None]:
    """Clients that read the credentials of this test, and are forgotten after it."""
    for each in (s3_client, driver_client):
        each.cache_clear()
    yield
    for each in (s3_client, driver_client):
        each.cache_clear()


@pytest.fixture(scope="session")
def local_ray(gateway: S3Gateway) -> Iterator[None]:
    """Started after the gateway, so that its workers inherit the way to it."""
    import ray

    ray.init(
        address="local",
        num_cpus=services.RAY_CPUS,
        num_gpus=0,
        object_store_memory=services.RAY_OBJECT_STORE_BYTES,
        include_dashboard=False,
    )
    try:
        yield
    finally:
        ray.shutdown()
