"""Segments of one long video on S3, against cutting them out first.

``python -m benchmarks.segments [--segments 60] [--hours 2]``

A video of two hours, 640 x 360 with sound, lies on a local S3 server. Up to what a model is shown
(two frames a second, and the sound), this measures

- *one*: a segment of 10 s from its middle, beside a file of 10 s;
- *many*: random segments of 10 s through one decoder;
- *cut, exact*: the same by downloading the file, cutting each segment out as FFmpeg does where the
  cut is to be exact (decoded and encoded again), and decoding the pieces;
- *cut, copied*: the same without encoding, which cuts at key frames, and so not where it was asked.

CPU seconds are those of all processes but the server's. What comes after, the model, costs the same
in each case. Absolute times mean nothing away from the machine they were measured on.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from actors.confinement.sandbox import DecodeSandbox
from actors.storage.access import open_range
from schemas.blocks import video_of
from schemas.media import DecodeLimits, SamplingPlan, StorageOptions
from tinyworld.s3 import S3Gateway

PLAN = SamplingPlan(fps=2, audio_rate=16_000)
SECONDS = 10.0
BUCKET = "videos"
WIDTH, HEIGHT, RATE, SOUND_RATE = 640, 360, 25, 48_000


def render_minute(path: Path, seconds: int = 60) -> None:
    """A noisy picture that moves, and noise, so that the bytes are as many as a film's."""
    chance = np.random.default_rng(1)
    field = chance.integers(0, 255, (HEIGHT // 8, WIDTH // 4, 3), dtype=np.uint8)
    field = field.repeat(8, axis=0).repeat(8, axis=1)
    with av.open(str(path), "w") as output:
        video = output.add_stream(
            "libx264", rate=RATE, options={"preset": "veryfast", "crf": "26", "g": "125"}
        )
        sound = output.add_stream("aac", rate=SOUND_RATE, layout="mono")
        assert isinstance(video, VideoStream) and isinstance(sound, AudioStream)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(RATE * seconds):
            picture = np.ascontiguousarray(field[:, number % WIDTH :][:, :WIDTH])
            output.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(video.encode(None))
        for at in range(0, SOUND_RATE * seconds, 1024):
            noise = chance.uniform(-0.2, 0.2, (1, 1024)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, at, Fraction(1, SOUND_RATE)
            output.mux(sound.encode(frame))
        output.mux(sound.encode(None))


def repeat(minute: Path, path: Path, times: int) -> None:
    """Copy a minute's packets several times, one after the other, without encoding anew."""
    with av.open(str(path), "w") as target:
        streams: dict[int, Any] = {}
        last: dict[int, int] = {}
        for number in range(times):
            with av.open(str(minute)) as source:
                for stream in source.streams:
                    if number == 0:
                        streams[stream.index] = target.add_stream_from_template(stream)
                for packet in source.demux():
                    if packet.dts is None or packet.pts is None:
                        continue
                    shift = round(60 * number / packet.time_base)
                    packet.dts, packet.pts = packet.dts + shift, packet.pts + shift
                    index = packet.stream_index
                    if packet.dts <= last.get(index, packet.dts - 1):
                        continue  # sound before the minute's begin
                    last[index] = packet.dts
                    packet.stream = streams[index]
                    target.mux(packet)


def cut(source: Path, target: Path, begin: float, end: float, *, exact: bool) -> None:
    """Cut a segment out, as ``ffmpeg -ss BEGIN -to END`` does, or with ``-c copy``."""
    with av.open(str(source)) as file, av.open(str(target), "w") as output:
        file.seek(int(begin * av.time_base))
        made: dict[int, Any] = {}
        for stream in file.streams:
            if not exact:
                made[stream.index] = output.add_stream_from_template(stream)
            elif isinstance(stream, VideoStream):
                video = output.add_stream("libx264", rate=RATE, options={"preset": "veryfast"})
                assert isinstance(video, VideoStream)
                video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
                made[stream.index] = video
            else:
                made[stream.index] = output.add_stream("aac", rate=SOUND_RATE, layout="mono")
        for packet in file.demux():
            if packet.dts is None or packet.pts is None:
                continue
            if float(packet.dts * packet.time_base) > end + 0.5:
                break
            if not exact:
                packet.stream = made[packet.stream_index]
                output.mux(packet)
                continue
            for frame in packet.decode():
                assert isinstance(frame, (av.VideoFrame, av.AudioFrame))
                if frame.time is not None and begin <= frame.time < end:
                    frame.pts = None
                    output.mux(made[packet.stream_index].encode(frame))
        for encoder in made.values() if exact else ():
            output.mux(encoder.encode(None))


@contextmanager
def measured(into: dict[str, Any]) -> Iterator[None]:
    """Note wall and CPU seconds, of this process and of children that ended meanwhile."""

    def cpu() -> float:
        return sum(os.times()[:4])

    began, used = time.monotonic(), cpu()
    yield
    into["wall_sec"] = round(time.monotonic() - began, 2)
    into["cpu_sec"] = round(cpu() - used, 2)


def decoded(uris: list[str], storage: StorageOptions) -> dict[str, Any]:
    """Decode through one sandbox: what it asked of the storage to read."""
    told: dict[str, Any] = {"requests": 0, "bytes": 0, "frames": 0}
    with measured(told), DecodeSandbox(DecodeLimits(), storage) as sandbox:
        for uri in uris:
            video = video_of(sandbox.decode(uri, PLAN))
            told["requests"] += video.info.requests
            told["bytes"] += video.info.bytes_read
            told["frames"] += video.num_frames
    return told


def through_pieces(
    uri: str, spans: list[tuple[float, float]], storage: StorageOptions, work: Path, *, exact: bool
) -> dict[str, Any]:
    """Download, cut, decode the pieces."""
    told: dict[str, Any] = {}
    with measured(told):
        whole = work / "whole.mp4"
        with open_range(uri, storage) as reader, whole.open("wb") as file:
            while data := reader.read(4 << 20):
                file.write(data)
            requests, downloaded = reader.requests, reader.bytes_read
        pieces = [work / f"piece-{number}.mp4" for number in range(len(spans))]
        for piece, span in zip(pieces, spans, strict=True):
            cut(whole, piece, *span, exact=exact)
        disk = sum(path.stat().st_size for path in (whole, *pieces))
        frames = decoded([str(piece) for piece in pieces], storage)["frames"]
    for path in (whole, *pieces):
        path.unlink()
    return told | {"requests": requests, "bytes": downloaded, "frames": frames, "disk_bytes": disk}


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, default=60)
    parser.add_argument("--hours", type=float, default=2.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        render_minute(work / "minute.mp4")
        repeat(work / "minute.mp4", work / "long.mp4", round(60 * arguments.hours))
        cut(work / "minute.mp4", work / "short.mp4", 20, 20 + SECONDS, exact=True)
        with S3Gateway(work / "s3", buckets=(BUCKET,)) as gateway:
            os.environ.update(gateway.env)
            storage = StorageOptions(endpoint_url=gateway.endpoint_url)
            for name in ("long.mp4", "short.mp4"):
                gateway.client().upload_file(str(work / name), BUCKET, name)
            size = (work / "long.mp4").stat().st_size
            (work / "long.mp4").unlink()
            long = f"s3://{BUCKET}/long.mp4"
            chance, seconds = random.Random(7), 3600 * arguments.hours
            begins = [chance.uniform(0, seconds - SECONDS) for _ in range(arguments.segments)]
            spans = [(begin, begin + SECONDS) for begin in begins]
            uris = [f"{long}#t={begin:.3f},{end:.3f}" for begin, end in spans]
            middle = f"{long}#t={seconds / 2},{seconds / 2 + SECONDS}"
            found: dict[str, Any] = {
                "file_bytes": size,
                "one": decoded([middle], storage),
                "second_of_the_file": decoded([middle, uris[0]], storage),
                "file_of_10s": decoded([f"s3://{BUCKET}/short.mp4"], storage),
                "many": decoded(uris, storage),
                "cut_exact": through_pieces(long, spans, storage, work, exact=True),
                "cut_copied": through_pieces(long, spans, storage, work, exact=False),
            }
    found["one"]["share_of_bytes"] = round(found["one"]["bytes"] / size, 4)
    found["cpu_over_cut_exact"] = found["many"]["cpu_sec"] / found["cut_exact"]["cpu_sec"]
    found["cpu_over_cut_copied"] = found["many"]["cpu_sec"] / found["cut_copied"]["cpu_sec"]
    found["bytes_over_cut"] = found["many"]["bytes"] / found["cut_exact"]["bytes"]
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
