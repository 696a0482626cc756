"""Addresses: what is local, what S3 is asked for, and what of them is shown."""

from __future__ import annotations

import pytest

from actors.storage.uris import S3Address, display_uri, local_path, public_uri
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


@pytest.mark.parametrize(
    ("uri", "public"),
    [
        (
            "https://u:p@host/a.mp4?id=1&X-Amz-Signature=s&x-id=GetObject#t",
            "https://host/a.mp4?id=1",
        ),
        ("HTTPS://host/a?sig=s&sv=1&se=2&id=3", "HTTPS://host/a?id=3"),
        ("https://host/a?id=1&se=~5ad83a6f3d0ad3bd", "https://host/a?id=1&se=~5ad83a6f3d0ad3bd"),
        ("https://host/a?Expires=1&token=s", "https://host/a"),
        ("https://host/a?", "https://host/a"),
        ("/a?token=s.mp4", "/a?token=s.mp4"),
        ("s3://bucket/a?sig=s.mp4", "s3://bucket/a?sig=s.mp4"),
    ],
)
def test_what_tables_hold_of_an_address(uri: str, public: str) -> None:
    assert public_uri(uri) == public


@pytest.mark.parametrize("parameter", ["apikey=hush", "sharekey=hush", "Auth=hush", "x=hush"])
def test_what_may_be_a_credential_tells_addresses_apart_and_is_not_shown(parameter: str) -> None:
    one, two = (public_uri(f"https://host/a?v=1&{parameter}{end}") for end in "12")
    assert "hush" not in one + two and one != two
    assert public_uri(one) == one
