"""What decoding costs: ``python -m benchmarks.decode_costs``.

- *reading*: a ten-minute clip on a real S3 server, sampled at 32 frames with and without sound,
  for several distances of its key frames: requests, bytes, CPU of reading and decoding, and what
  a million such videos cost at the default prices of ``schemas.media.StorageOptions``.
- *memory*: peak resident memory of the decoding process for a 20-minute 1080p clip.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import psutil

from actors.confinement.sandbox import DecodeSandbox
from schemas.blocks import video_of
from schemas.media import DecodeLimits, SamplingPlan, StorageOptions
from tinyworld.s3 import S3Gateway

PLAN = SamplingPlan(num_frames=32, max_pixels=100_352, audio_rate=16_000)
BUCKET = "videos"


def render(
    path: Path, *, seconds: int, rate: int, width: int, height: int, gop: int, noise: int
) -> Path:
    """A clip with moving noise (so that frames have the size of real ones) and a tone."""
    chance = np.random.default_rng(0)
    texture = chance.integers(0, noise, (height * 2, width * 2, 3), dtype=np.uint8)
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=rate)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.gop_size = gop
        video.options = {"preset": "ultrafast", "crf": "30", "sc_threshold": "0"}
        sound = output.add_stream("aac", rate=48_000)
        for number in range(seconds * rate):
            top, left = (number * 3) % height, (number * 5) % width
            image = texture[top : top + height, left : left + width]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts = number
            output.mux(video.encode(frame))
            if number % rate == 0:
                times = (np.arange(48_000) + number // rate * 48_000) / 48_000
                wave = np.sin(2 * np.pi * 440 * times).astype(np.float32)[None]
                samples = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
                samples.sample_rate, samples.pts = 48_000, number // rate * 48_000
                output.mux(sound.encode(samples))
        output.mux(video.encode(None))
        output.mux(sound.encode(None))
    return path


def reading(work: Path) -> dict[str, dict[str, float]]:
    """What ten-minute clips take, by distance of their key frames."""
    figures = {}
    with S3Gateway(work / "s3", buckets=(BUCKET,)) as gateway:
        os.environ.update(gateway.env)
        with DecodeSandbox(DecodeLimits(), StorageOptions()) as sandbox:
            for gop_sec in (2, 5, 10):
                name = f"ten-minutes-{gop_sec}.mp4"
                path = render(
                    work / name, seconds=600, rate=10, width=640, height=360,
                    gop=gop_sec * 10, noise=96,
                )  # fmt: skip
                gateway.client().upload_file(str(path), BUCKET, name)
                sandbox.decode(str(path), PLAN)  # the process starts, and loads what it needs
                for plan in (PLAN, PLAN.model_copy(update={"audio_rate": None})):
                    sound = "with" if plan.audio_rate else "without"
                    figures[f"{sound} sound, key frame every {gop_sec} s"] = cost_of(
                        sandbox, f"s3://{BUCKET}/{name}", plan
                    )
    return figures


def cost_of(sandbox: DecodeSandbox, uri: str, plan: SamplingPlan) -> dict[str, float]:
    """Decode a video; what it took, and what that costs a million times."""
    # This process reads, the other decodes.
    processes, prices = (psutil.Process(), psutil.Process(sandbox.pid)), StorageOptions()
    began, before = time.monotonic(), _cpu_sec(processes)
    clip = video_of(sandbox.decode(uri, plan))
    wall, cpu = time.monotonic() - began, _cpu_sec(processes) - before
    assert len(clip.frames) == 32 and (clip.audio is None) == (plan.audio_rate is None)
    info = clip.info
    return {
        "requests": info.requests,
        "stored_mb": info.bytes_stored / 1e6,
        "read_mb": info.bytes_read / 1e6,
        "cpu_sec": cpu,
        "wall_sec": wall,
        "requests_usd_per_million": info.requests * prices.usd_per_1000_requests * 1e3,
        "bytes_usd_per_million": info.bytes_read / 1e9 * prices.usd_per_gb * 1e6,
        "cpu_usd_per_million": cpu / 3600 * prices.usd_per_cpu_hour * 1e6,
    }


def _cpu_sec(processes: Iterable[psutil.Process]) -> float:
    return sum(sum(each.cpu_times()[:2]) for each in processes)


def peak_memory(work: Path) -> dict[str, float]:
    """Peak resident memory of the decoding process, 20 minutes of 1080p."""
    path = render(
        work / "long.mp4", seconds=1200, rate=2, width=1920, height=1080, gop=20, noise=32
    )
    peak = 0
    done = threading.Event()

    def watch(pid: int) -> None:
        nonlocal peak
        process = psutil.Process(pid)
        while not done.is_set():
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.01)

    with DecodeSandbox(DecodeLimits(), StorageOptions()) as sandbox:
        sandbox.decode(str(path), SamplingPlan(num_frames=1))
        assert sandbox.pid is not None
        watcher = threading.Thread(target=watch, args=(sandbox.pid,))
        watcher.start()
        clip = video_of(sandbox.decode(str(path), PLAN))
        done.set()
        watcher.join()
    return {"duration_sec": clip.info.duration_sec, "peak_mb": peak / 1e6}


def main() -> None:
    """Measure both and print one JSON document."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as work:
        figures = {"reading": reading(Path(work)), "memory": peak_memory(Path(work))}
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
