"""Settings and helpers of the test services: S3 servers and a local Ray."""

from __future__ import annotations

import os
import secrets
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

RAY_CPUS = 2
RAY_OBJECT_STORE_BYTES = 512 << 20

HERMETIC_ENV = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    # In spite of its name: Ray listens on 127.0.0.1 only, whoever starts it.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "AWS_EC2_METADATA_DISABLED": "true",
    # Neither the profile nor the region of whoever runs the tests.
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}

CALLERS_ENV = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "RAY_ADDRESS",
    "RAY_AUTH_TOKEN_PATH",
)
"""What may be set on the machine, and must not reach the tests."""


def isolate(env: Any) -> None:
    """Make an environment mapping (``os.environ``) independent of the machine."""
    for name in CALLERS_ENV:
        env.pop(name, None)
    env.update(HERMETIC_ENV)
    # Not the token in the home folder of whoever runs the tests.
    env["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def new_bucket(client: Any) -> str:
    """Make a bucket with a name of its own, so that tests on one server do not meet."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    return name


def put_objects(client: Any, bucket: str, objects: Mapping[str, bytes]) -> None:
    """Store small objects, key to body."""
    for key, body in objects.items():
        client.put_object(Bucket=bucket, Key=key, Body=body)


def fill_moto_bucket(bucket: str, keys: Iterable[str]) -> None:
    """Store thousands of empty objects in the moto server of this process, without requests."""
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    for key in keys:
        backend.put_object(bucket, key, b"")


def write_files(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write small files below a folder, relative path to content; returns the folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder
