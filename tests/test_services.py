"""The test services themselves: a broken proxy would make the tests behind it worthless."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    IncompleteReadError,
    ResponseStreamingError,
)

from tests.support.fault_proxy import KINDS, FaultProxy
from tests.support.services import put_objects
from tinyworld.s3 import S3Gateway, S3GatewayError

Start = Callable[..., FaultProxy]


def client_of(url: str, *, attempts: int = 1) -> Any:
    retries = {"mode": "standard", "total_max_attempts": attempts}
    return boto3.client("s3", endpoint_url=url, config=Config(retries=retries))


@pytest.fixture(params=["gateway", "moto"])
def served_bucket(request: pytest.FixtureRequest) -> tuple[str, str, Any]:
    """URL, bucket and client, on each of the two servers."""
    if request.param == "gateway":
        server: S3Gateway = request.getfixturevalue("gateway")
        bucket = request.getfixturevalue("gateway_bucket")
        return server.endpoint_url, bucket, server.client()
    url = request.getfixturevalue("moto_url")
    bucket = request.getfixturevalue("moto_bucket")
    return url, bucket, request.getfixturevalue("moto_client")


def test_proxy_passes_signed_requests_through(
    served_bucket: tuple[str, str, Any], fault_proxy: Start
) -> None:
    url, bucket, direct = served_bucket
    proxy = fault_proxy(url)
    client = client_of(proxy.endpoint_url)
    body = os.urandom(3 << 20)
    client.put_object(Bucket=bucket, Key="a/b c+ü.bin", Body=body)
    assert direct.get_object(Bucket=bucket, Key="a/b c+ü.bin")["Body"].read() == body
    part = client.get_object(Bucket=bucket, Key="a/b c+ü.bin", Range="bytes=1000-1999")
    assert part["Body"].read() == body[1000:2000]
    assert client.head_object(Bucket=bucket, Key="a/b c+ü.bin")["ContentLength"] == len(body)
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    client.delete_object(Bucket=bucket, Key="a/b c+ü.bin")
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert set(proxy.counts) == {"passed"}
    assert proxy.counts["passed"] == 6


@pytest.mark.parametrize("kind", KINDS)
def test_proxy_injects_each_kind(
    kind: str, served_bucket: tuple[str, str, Any], fault_proxy: Start
) -> None:
    url, bucket, direct = served_bucket
    body = os.urandom(200_000)
    direct.put_object(Bucket=bucket, Key="k", Body=body)
    proxy = fault_proxy(url)
    proxy.break_requests({kind: 1.0}, methods={"GET"}, stall_sec=0.4)
    client = client_of(proxy.endpoint_url)

    def get() -> bytes:
        data: bytes = client.get_object(Bucket=bucket, Key="k")["Body"].read()
        return data

    began = time.monotonic()
    if code := {"slow_down": "SlowDown", "internal": "Internal", "denied": "Denied"}.get(kind):
        with pytest.raises(ClientError, match=code):
            get()
    elif kind in ("reset", "reset_after", "hold"):
        with pytest.raises(ConnectionClosedError):
            get()
    elif kind == "cut":
        with pytest.raises((IncompleteReadError, ResponseStreamingError)):
            get()
    elif kind == "cut_quietly":
        assert get() == body[:100_000]
    else:
        assert get() == body
        assert time.monotonic() - began >= 0.4
    assert proxy.counts == {kind: 1}
    client.put_object(Bucket=bucket, Key="other", Body=b"x")  # a method that is left alone
    assert proxy.counts == {kind: 1, "passed": 1}


def test_what_is_held_is_delivered_later(
    gateway: S3Gateway, gateway_bucket: str, fault_proxy: Start
) -> None:
    proxy = fault_proxy(gateway.endpoint_url)
    proxy.break_requests({"hold": 1.0}, stall_sec=0.1)
    with pytest.raises(BotoCoreError):
        client_of(proxy.endpoint_url).put_object(Bucket=gateway_bucket, Key="k", Body=b"x")
    direct = client_of(gateway.endpoint_url)
    assert direct.list_objects_v2(Bucket=gateway_bucket)["KeyCount"] == 0
    assert (proxy.deliver(), proxy.deliver()) == (1, 0)
    assert direct.get_object(Bucket=gateway_bucket, Key="k")["Body"].read() == b"x"


def test_the_clock_jumps(gateway: S3Gateway, gateway_bucket: str, fault_proxy: Start) -> None:
    proxy = fault_proxy(gateway.endpoint_url)
    client = client_of(proxy.endpoint_url)
    times = []
    for key in ("a", "b"):
        client.put_object(Bucket=gateway_bucket, Key=key, Body=b"x")
        time.sleep(1.1)
        proxy.jump(100 * len(times) + 100)
        listing = client.list_objects_v2(Bucket=gateway_bucket)["Contents"]
        times = [each["LastModified"].timestamp() for each in listing]
    assert 99 < times[1] - times[0] < 104


def test_reset_after_has_taken_effect(
    gateway: S3Gateway, gateway_bucket: str, fault_proxy: Start
) -> None:
    proxy = fault_proxy(gateway.endpoint_url)
    for kind, expected in (("reset", 0), ("reset_after", 1)):
        proxy.break_requests({kind: 1.0})
        with pytest.raises(BotoCoreError):
            client_of(proxy.endpoint_url).put_object(Bucket=gateway_bucket, Key="k", Body=b"x")
        assert gateway.client().list_objects_v2(Bucket=gateway_bucket)["KeyCount"] == expected


def test_shares_are_kept_and_retries_get_through(
    gateway: S3Gateway, gateway_bucket: str, fault_proxy: Start
) -> None:
    put_objects(gateway.client(), gateway_bucket, {"good": b"1", "bad/x": b"2"})
    proxy = fault_proxy(gateway.endpoint_url, seed=7)
    proxy.break_requests({"slow_down": 0.2, "reset": 0.2}, path="/bad/")
    once = client_of(proxy.endpoint_url)
    for _ in range(200):
        once.head_object(Bucket=gateway_bucket, Key="good")
        try:
            once.head_object(Bucket=gateway_bucket, Key="bad/x")
        except (BotoCoreError, ClientError):
            continue
    counts = proxy.counts
    assert sum(counts.values()) == 400
    assert 25 <= counts["slow_down"] <= 55
    assert 25 <= counts["reset"] <= 55
    assert all("/bad/" in r.target for r in proxy.requests if r.outcome != "passed")
    proxy.break_requests({"reset": 0.3})
    patient = client_of(proxy.endpoint_url, attempts=12)
    for _ in range(5):
        assert patient.get_object(Bucket=gateway_bucket, Key="bad/x")["Body"].read() == b"2"


def test_gateway_keeps_its_objects_and_refuses_strangers(tmp_path: Path) -> None:
    for buckets in (["first", "second"], ["first"]):
        with S3Gateway(tmp_path / "s3", buckets=buckets) as server:
            client = server.client()
            if len(buckets) == 2:
                client.put_object(Bucket="first", Key="k", Body=b"x")
            assert client.get_object(Bucket="first", Key="k")["Body"].read() == b"x"
            stranger = boto3.Session("demo0000", "wrong", region_name="us-east-1")
            with pytest.raises(ClientError, match="InvalidAccessKeyId"):
                stranger.client("s3", endpoint_url=server.endpoint_url).list_buckets()
            url = server.endpoint_url
        with pytest.raises(BotoCoreError):
            client_of(url).list_buckets()


def test_gateway_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "meta.db").write_text("this is no database")
    with pytest.raises(S3GatewayError, match="database"), S3Gateway(tmp_path):
        pass


def test_gateway_dies_with_its_owner(tmp_path: Path) -> None:
    code = (
        "import os, sys; from tinyworld.s3 import S3Gateway\n"
        "with S3Gateway(sys.argv[1]) as server:\n"
        "    print(server.endpoint_url, flush=True); sys.stdin.read()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    url = owner.stdout.readline().strip()
    with pytest.raises(ClientError):  # it answers: credentials are not its own
        client_of(url).list_buckets()
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            client_of(url).list_buckets()
        except ClientError:
            time.sleep(0.1)
        except BotoCoreError:
            return
    pytest.fail("the gateway outlived its owner")


def test_ray_is_local_and_sees_the_gateway(local_ray: None, gateway: S3Gateway) -> None:
    import ray

    @ray.remote(num_cpus=1)
    def seen() -> tuple[str | None, str | None]:
        return os.environ.get("AWS_ENDPOINT_URL"), os.environ.get("RAY_AUTH_MODE")

    assert ray.get(seen.remote()) == (gateway.endpoint_url, "token")
    assert ray.cluster_resources()["CPU"] == 2
    assert [node["NodeManagerAddress"] for node in ray.nodes()] == ["127.0.0.1"]
