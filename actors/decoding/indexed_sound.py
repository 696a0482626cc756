"""Reading the sound of an indexed file without the picture that lies between.

In most MP4 files a few hundred bytes of sound follow every frame. Skipping the picture costs
a request per frame; reading it costs all of the file. What is read in between is a budget:
the smallest gaps are read, the largest skipped, so that the requests are as few as the budget
allows. Where the storage answers too slowly for that, more is read instead.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import cast

import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream
from av.packet import Packet

from actors.decoding.probe import Source, drain
from actors.decoding.sample_index import SampleTable
from actors.decoding.schedule import Ints
from actors.storage.range_reader import MAX_REQUEST_BYTES, Span

SKIPPING_SHARE = 0.2
"""Share of a video's wall time limit that small requests may take before fewer, larger ones
take over."""

BATCH_REQUESTS = 512
BATCH_BYTES = 16 << 20


def indexed_packets(
    source: Source, audio: AudioStream, table: SampleTable, picture: list[Span]
) -> Iterator[Packet[AudioStream]]:
    """Yield the packets of a stream by their positions, without going through the demuxer.

    FFmpeg's demuxer reads through gaps below 32 KiB instead of skipping them.

    Args:
        source: the open container.
        audio: whose packets.
        table: where they are.
        picture: byte ranges that were read already, sorted and disjoint.
    """
    reader = source.reader
    starts, ends = table.positions, table.positions + table.sizes
    known = _holder(starts, ends, picture)
    same = known[1:] == known[:-1]
    # Between two packets in one range that was read already, everything was; a request
    # across the edge of such a range would read it again.
    gaps = np.maximum(starts[1:] - ends[:-1], 0)
    gaps = np.where(same, np.where(known[1:] >= 0, 0, gaps), np.maximum(gaps, MAX_REQUEST_BYTES))
    budget = reader.read_share * reader.size - reader.bytes_read - int(table.sizes[known < 0].sum())
    at, allowed = 0, len(starts)
    spent, made = 0.0, 0
    patience = SKIPPING_SHARE * source.limits.wall_seconds
    while at < len(starts):
        joined = _joined_gaps(gaps[at:], budget=budget, requests=allowed)
        spans, counts = _batch(starts[at:], ends[at:], joined)
        began, before = time.monotonic(), reader.requests
        chunks = reader.read_spans(spans)
        spent, made = spent + time.monotonic() - began, made + reader.requests - before
        for chunk, (start, _), count in zip(chunks, spans, counts, strict=True):
            for number in range(at, at + count):
                offset = int(starts[number]) - start
                data = chunk[offset : offset + int(table.sizes[number])]
                packet = cast("Packet[AudioStream]", Packet(data))
                if audio.time_base is not None:
                    packet.time_base = audio.time_base
                packet.pts = packet.dts = int(table.stamps[number])
                yield packet
            inner = slice(at, at + count - 1)
            budget -= int(gaps[inner].sum())
            at += count
        if made:
            allowed = max(8, int((patience - spent) * made / max(spent, 1e-6)))
    yield drain(audio)


def _holder(starts: Ints, ends: Ints, spans: list[Span]) -> Ints:
    """Return the number of the span that holds each range, or -1."""
    if not spans:
        return np.full(len(starts), -1)
    begin = np.array([start for start, _ in spans])
    end = np.array([stop for _, stop in spans])
    at = np.searchsorted(begin, starts, side="right") - 1
    return np.where((at >= 0) & (ends <= end[at]), at, -1)


def _joined_gaps(gaps: Ints, *, budget: float, requests: int) -> npt.NDArray[np.bool_]:
    """Return which gaps to read: the smallest within the budget, or more for fewer requests."""
    order = np.argsort(gaps, kind="stable")
    affordable = int(np.searchsorted(np.cumsum(gaps[order]), max(budget, 0.0), side="right"))
    joined = np.zeros(len(gaps), dtype=bool)
    joined[order[: max(affordable, len(gaps) - requests)]] = True
    return joined


def _batch(starts: Ints, ends: Ints, joined: npt.NDArray[np.bool_]) -> tuple[list[Span], list[int]]:
    """Return the next ranges to request at once, and how many packets each holds."""
    spans: list[Span] = []
    counts: list[int] = []
    size = 0
    for number in range(len(starts)):
        start, stop = int(starts[number]), int(ends[number])
        if (
            spans
            and joined[number - 1]
            and spans[-1][1] <= start
            and stop - spans[-1][0] <= MAX_REQUEST_BYTES
        ):
            size += stop - spans[-1][1]
            spans[-1] = (spans[-1][0], stop)
            counts[-1] += 1
        elif len(spans) == BATCH_REQUESTS or (spans and size + stop - start > BATCH_BYTES):
            break
        else:
            size += stop - start
            spans.append((start, stop))
            counts.append(1)
    return spans, counts
