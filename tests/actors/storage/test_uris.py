"""Addresses: what is local, what S3 is asked for, and what of them is shown."""

from __future__ import annotations

import pytest

from actors.storage.uris import (
    S3Address,
    display_uri,
    local_path,
    public_text,
    public_uri,
    without_secrets,
)
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


SECRETIVE = {
    # what is to be read -> what tables hold of it
    "https://h/c/a.mp4?sv=2022&st=2024&se=2025&sr=b&sp=r&sig=hush%3D": "https://h/c/a.mp4",
    "https://h/c/a.mp4?SV=2022&SE=2025&SIG=hush%3D": "https://h/c/a.mp4",
    "https://h/b/o?GoogleAccessId=hush&Expires=1&Signature=hush": "https://h/b/o",
    "https://h/a.mp4?Expires=1&Signature=hush&Key-Pair-Id=hush": "https://h/a.mp4",
    "https://h/a.mp4?Policy=hush&Signature=hush&Key-Pair-Id=hush": "https://h/a.mp4",
    "https://h/a.mp4?hdnts=exp=1~acl=/*~hmac=hush": "https://h/a.mp4",
    "https://h/a.mp4?__gda__=exp~hush": "https://h/a.mp4",
    # in the path
    "https://h/edge-cache-token=Expires=1~Signature=hush/a.mp4": "https://h/a.mp4",
    "https://h/hdnts=exp=1~acl=/*~hmac=hush/a.mp4": "https://h/a.mp4",
    "https://h/a.mp4;token=hush": "https://h/a.mp4",
    "https://h/a.mp4;jsessionid=hush?v=1": "https://h/a.mp4?jsessionid=~94789b4445150ae4&v=1",
    "https://h/day=1/a;b.mp4?token=hush": "https://h/day=1/a;b.mp4",
    # without a path
    "https://h?token=hush": "https://h",
    "https://h?hush": "https://h?~94789b4445150ae4",
    "https://h/a.mp4#access_token=hush": "https://h/a.mp4",
    # passwords that hold what ends the place where they may stand
    "https://user:pa/hush@host/a.mp4": "https://host/a.mp4",
    "https://user:hush?ss@host/a.mp4": "https://host/a.mp4",
    "https://user:hush#ss@host/a.mp4": "https://host/a.mp4",
    "https://u:p@hush@host:80/a.mp4": "https://host:80/a.mp4",
    "https://user:hush": "https://user",
    "https://u:hush@[::1]:80/@a/b.mp4": "https://[::1]:80/@a/b.mp4",
    # chains of addresses
    "zip://a.mp4::https://user:hush@host/x.zip": "zip://a.mp4::https://host/x.zip",
    "filecache::https://u:hush@host/x.mp4?token=hush": "filecache::https://host/x.mp4",
    # under harmless names
    "https://h/a?file=https%3A%2F%2Fx%2Fa%3Ftoken%3Dhush": "https://h/a?file=~5c1d6efb7e5b382e",
    "https://h/a?id=eyJhbGciOiJI.hush.hush": "https://h/a?id=~63b1cb8a93c52f0d",
    "https://h/a?v=" + 30 * "hush": "https://h/a?v=~2a8ef6a7f8ad94e0",
    "https://h/a?path=b/c%20d.mp4&t=1:30&v=2": "https://h/a?path=b/c%20d.mp4&t=1:30&v=2",
}


@pytest.mark.parametrize("uri", SECRETIVE)
def test_a_secret_in_any_part_of_an_address_is_not_shown(uri: str) -> None:
    public = public_uri(uri)
    assert public == SECRETIVE[uri] and public_uri(public) == public
    message = f"GET {uri!r} failed (url: {uri})"
    for shown in (display_uri(uri), public_text(message), without_secrets(message)):
        assert "hush" not in shown


def test_addresses_inside_a_text_are_shown_as_addresses_are() -> None:
    text = "see https://me:hush@h/a?v=1&token=hush, (https://h/b) and s3://bucket/c?d.mp4"
    assert public_text(text) == "see https://h/a?v=1 (https://h/b) and s3://bucket/c?d.mp4"
    assert public_text("no address: a?b=c") == "no address: a?b=c"
    assert without_secrets("cannot GET /a.mp4?sig=hush&x=hush now") == "cannot GET /a.mp4 now"


@pytest.mark.parametrize("parameter", ["apikey=hush", "sharekey=hush", "Auth=hush", "x=hush"])
def test_what_may_be_a_credential_tells_addresses_apart_and_is_not_shown(parameter: str) -> None:
    one, two = (public_uri(f"https://host/a?v=1&{parameter}{end}") for end in "12")
    assert "hush" not in one + two and one != two
    assert public_uri(one) == one
