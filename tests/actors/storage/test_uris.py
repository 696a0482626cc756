"""Addresses: what is local, what S3 is asked for, and what of them is shown."""

from __future__ import annotations

import pytest

from actors.storage.uris import S3Address, display_uri, local_path
from schemas.errors import OpenError


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/a/b c.mp4", "/a/b c.mp4"),
        ("file:///a/b%20c.mp4", "/a/b c.mp4"),
        ("FILE:///a.mp4", "/a.mp4"),
        ("local:///a/b%20c.mp4", "/a/b%20c.mp4"),
        ("s3://bucket/a.mp4", None),
        ("https://host/a.mp4", None),
    ],
)
def test_local_paths(uri: str, path: str | None) -> None:
    assert local_path(uri) == path


@pytest.mark.parametrize(
    ("uri", "bucket", "key"),
    [
        ("s3://bucket/a/b.mp4", "bucket", "a/b.mp4"),
        ("S3A://bucket/a", "bucket", "a"),
        ("s3://bucket", "bucket", ""),
        ("s3://bucket//a?versionId=b#c\nd", "bucket", "/a?versionId=b#c\nd"),
        (
            "s3://arn:aws:s3:eu-west-1:123:accesspoint/mine/a/b.mp4",
            "arn:aws:s3:eu-west-1:123:accesspoint/mine",
            "a/b.mp4",
        ),
        (
            "s3://arn:aws:s3-outposts:eu-west-1:123:outpost/op-1/accesspoint/mine/a.mp4",
            "arn:aws:s3-outposts:eu-west-1:123:outpost/op-1/accesspoint/mine",
            "a.mp4",
        ),
    ],
)
def test_addresses_on_s3(uri: str, bucket: str, key: str) -> None:
    assert S3Address.parse(uri) == (bucket, key)
    assert str(S3Address.parse(uri)) == f"s3://{bucket}/{key}"


@pytest.mark.parametrize("uri", ["s3://", "s3:///a", "s3://not a bucket/a", "s3://k:hush@b/a"])
def test_addresses_without_a_bucket(uri: str) -> None:
    with pytest.raises(OpenError, match="names no bucket") as caught:
        S3Address.parse(uri)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://bucket/key?a#b", "s3://bucket/key?a#b"),
        ("https://user:pw@host/clip.mp4?X-Amz-Signature=abc#d", "https://host/clip.mp4"),
        ("/a/b@c.mp4", "/a/b@c.mp4"),
        ("s3://key:secret@bucket/clip.mp4", "s3://bucket/clip.mp4"),
    ],
)
def test_messages_show_no_secrets(uri: str, shown: str) -> None:
    assert display_uri(uri) == shown
