"""Frames per second and core of a split against PySceneDetect with its own reader.

python -m benchmarks.split VIDEO...       # by default rendered films at 1280 x 720

Both work on one core, one after the other, on the same files, and look for cuts with the same
detector. PySceneDetect finds cuts alone; the split also measures scores and sound, and goes through
the decoding process. Start-up is left out. Counted is the time that the CPU worked, so that
other work on the machine tells little.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import cv2
from scenedetect import AdaptiveDetector, SceneManager, open_video

from actors.confinement.sandbox import DecodeSandbox
from actors.splitting.splitter import split
from schemas.media import DecodeLimits, StorageOptions
from schemas.splitting import SplitConfig
from tests.support.films import film, write

_ROUNDS = 3


def main(videos: Sequence[str]) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        given = list(videos) or [
            write(Path(folder), f"{number}.mp4", film(number).encoded(width=1280, height=720))
            for number in range(4)
        ]
        frames = sum(map(_frames, given))
        with DecodeSandbox(DecodeLimits(), StorageOptions()) as sandbox:
            config = SplitConfig(input=("in",), output="out")

            def own(video: str) -> int:
                row = {"video_id": video, "uri": video, "metadata": None, "source_version": None}
                return len(split(sandbox, row, config)) - 1

            own(given[0])
            # Alternately, so that a machine that is busy for a while is so for both.
            results = [
                [_timed(each, given, sandbox) for each in (own, _theirs)] for _ in range(_ROUNDS)
            ]
    for name, runs in zip(("rayjob split", "scenedetect"), zip(*results, strict=True), strict=True):
        seconds = min(seconds for seconds, _ in runs)
        print(f"{name}: {frames / seconds:.0f} frames per second and core, {runs[0][1]} cuts")


def _theirs(video: str) -> int:
    manager = SceneManager()
    manager.add_detector(AdaptiveDetector())
    manager.detect_scenes(open_video(video))
    return len(manager.get_scene_list(start_in_scene=True)) - 1


def _timed(
    count: Callable[[str], int], videos: Sequence[str], sandbox: DecodeSandbox
) -> tuple[float, int]:
    started, cuts = _cpu_seconds(sandbox), 0
    for number, video in enumerate(videos):
        # The sandbox keeps the last file open: none is read twice in a row.
        assert number == 0 or video != videos[number - 1]
        cuts += count(video)
    return _cpu_seconds(sandbox) - started, cuts


def _cpu_seconds(sandbox: DecodeSandbox) -> float:
    """Of this process and of the decoding process."""
    fields = Path(f"/proc/{sandbox.pid}/stat").read_text().rpartition(")")[2].split()
    child = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return time.process_time() + child


def _frames(video: str) -> int:
    with av.open(video) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)


if __name__ == "__main__":
    main(sys.argv[1:])
