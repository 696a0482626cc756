"""Spans at the end of addresses."""

from __future__ import annotations

import math

import pytest

from actors.storage.segments import fragment_of, plain_fragment, segment_of
from actors.storage.uris import public_uri, split_segment
from schemas.errors import SegmentError
from schemas.media import Segment


@pytest.mark.parametrize(
    ("uri", "segment"),
    [
        ("s3://b/k.mp4", None),
        ("s3://b/k.mp4#t=12.5,20", Segment(12.5, 20)),
        ("/v/k.mp4#t=12.5", Segment(12.5)),
        ("https://h/k.mp4?id=1#t=,20", Segment(0, 20)),
        ("k.mp4#t=npt:0:00:09.533,1:00:16.300", Segment(9.533, 3616.3)),
        ("k.mp4#t=01:30,1e2", Segment(90, 100)),
        ("take#t=2.mp4", None),
        ("a#t=1/b.mp4", None),
        ("k.mp4#chapter", None),
    ],
)
def test_what_an_address_means(uri: str, segment: Segment | None) -> None:
    assert segment_of(uri) == segment


@pytest.mark.parametrize(
    ("fragment", "reason"),
    [
        ("#t=-1,5", "begins before the video"),
        ("#t=9,5", "ends before it begins"),
        ("#t=5,5", "is empty"),
        ("#t=nan,5", "not finite"),
        ("#t=5,inf", "not finite"),
        ("#t=?a%2Cb,5", "'a,b' is not a time"),
        ("#t=1.2.3,5", "'1.2.3' is not a time"),
        ("#t=", "names no time"),
    ],
)
def test_what_is_not_a_span(fragment: str, reason: str) -> None:
    with pytest.raises(SegmentError, match=reason):
        segment_of(f"s3://b/k.mp4{fragment}")


@pytest.mark.parametrize(
    ("begin", "end", "fragment"),
    [
        (12.5, 20, "#t=12.5,20"),
        ("0:01:09.533", "0:01:16.300", "#t=69.533,76.3"),
        (None, "20", "#t=0,20"),
        (0.1 + 0.2, None, "#t=0.3"),
        (None, "", ""),
        (math.nan, 3.0, "#t=nan,3"),
        ("soon, #1/2", 3.0, "#t=?soon%2C %231%2F2,3"),
    ],
)
def test_one_form_for_every_way_to_write_it(
    begin: float | str | None, end: float | str | None, fragment: str
) -> None:
    assert fragment_of(begin, end) == fragment
    assert plain_fragment(fragment) == fragment
    assert split_segment(f"k.mp4{fragment}") == ("k.mp4", fragment)


def test_on_the_web_a_span_that_cannot_be_read_is_never_the_whole_video() -> None:
    with pytest.raises(SegmentError, match="'10s' is not a time"):
        segment_of("https://h/k.mp4#t=10s,20s")
    assert split_segment("https://h/k.mp4#top") == ("https://h/k.mp4#top", "")
    assert plain_fragment("#t=10s,20s") == "#t=?10s,?20s"
    assert split_segment("s3://b/k#t=10s") == ("s3://b/k#t=10s", "")


def test_it_is_part_of_the_public_address() -> None:
    signed = "https://user:word@h/k.mp4?X-Amz-Signature=1&id=2#t=1,2"
    assert public_uri(signed) == "https://h/k.mp4?id=2#t=1,2"
    assert public_uri("https://h/k.mp4#top") == "https://h/k.mp4"
    assert public_uri("s3://b/k.mp4#t=1,2") == "s3://b/k.mp4#t=1,2"
