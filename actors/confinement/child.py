"""The decoding process: asks its parent for a file's bytes, answers with a row, a clip or an error.

It begins by importing all that it will use, then gives up everything else: see
:mod:`actors.confinement.layers`. Files are the parent's to open.
"""

from __future__ import annotations

import importlib.machinery
import io
import json
import mmap
import os
import resource
import select
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, BinaryIO

import av
import av.subtitles.codeccontext  # PyAV imports both with the first subtitles
import av.subtitles.stream
import numpy as np
import pyarrow as pa

from actors.clipping.cut import cut
from actors.confinement.answers import (
    BYTES,
    CLIP,
    DATA,
    HEADER,
    READY,
    SPAN,
    send,
    send_error,
    send_row,
)
from actors.confinement.layers import confine
from actors.decoding.decoder import VideoFile, decode
from actors.decoding.reading import ReadingCosts
from actors.storage.range_reader import RangeReader
from schemas.blocks import video_row
from schemas.budget import Budget
from schemas.errors import (
    DecoderCrashedError,
    DecoderFaultError,
    SegmentError,
    StorageUnavailableError,
    VideoError,
)
from schemas.media import WHOLE, DecodedVideo, DecodeLimits, SamplingPlan, Segment

BACKSTOP_MB = 512
"""Memory that may be asked for, but not used, above the limit on what is used."""

_REHEARSED = (
    SamplingPlan(num_frames=2, audio_rate=16_000),
    SamplingPlan(fps=5, stretch_to=(32, 32), compress=True),
)


def main() -> None:
    """Serve requests, a line of JSON each, until the parent closes the pipe."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # Whatever a library prints must not end up among the answers.
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    setup = json.loads(requests.readline())
    window = mmap.mmap(setup["window"], 0, prot=mmap.PROT_READ)
    os.close(setup["window"])
    limits = DecodeLimits.model_validate(setup["limits"])
    costs = ReadingCosts(**setup["costs"])
    budget = None if setup["budget"] is None else Budget.model_validate(setup["budget"])
    most = (limits.memory_mb + BACKSTOP_MB) << 20
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    _import_no_more(limits, costs)
    layers = confine()
    # Only now, as what comes before holds for the thread that does it and those that follow.
    threading.Thread(target=_die_with_parent, args=(requests.fileno(),), daemon=True).start()
    send(answers, READY, json.dumps(layers).encode())
    server = _Server(requests, answers, window, limits, costs, budget)
    while line := requests.readline():
        server.serve(json.loads(line))


def _import_no_more(limits: DecodeLimits, costs: ReadingCosts) -> None:
    """Let libraries import what they import late, and tell them from then on that nothing else is
    installed: that is an ordinary case to them, whereas a file that cannot be opened is not.
    """
    finders = sys.meta_path[:]
    built_in: list[Any] = [importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter]
    sys.meta_path[:] = built_in
    pa.array([0])  # Arrow looks for pandas once; it would take a second and 60 MB.
    sys.meta_path[:] = finders
    for container in ("mp4", "matroska"):  # with an index and without
        data = _small_clip(container)
        for plan in _REHEARSED:
            with RangeReader(lambda a, b: data[a:b], size=len(data), name=container) as reader:  # noqa: B023
                video_row(decode(reader, plan, limits, costs))
    sys.meta_path[:] = built_in


def _small_clip(container: str) -> bytes:
    """A few grey frames and a little silence."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        video = output.add_stream("mpeg4", rate=25, width=64, height=64, pix_fmt="yuv420p")
        sound = output.add_stream("aac", rate=16_000, layout="mono")
        for number in range(8):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 128, np.uint8), format="rgb24")
            frame.pts = number
            output.mux(video.encode(frame))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 5120), np.float32), "fltp", "mono")
        silence.sample_rate = 16_000
        output.mux(sound.encode(silence))
        for stream in (video, sound):
            output.mux(stream.encode(None))
    return file.getvalue()


class _Server:
    """Answers requests over the pipes to and from the parent, one by one. After a segment the file
    stays open, for the next one of the same file.

    Args:
        window: memory that the parent writes ranges of the file to.
    """

    def __init__(
        self,
        requests: BinaryIO,
        answers: BinaryIO,
        window: mmap.mmap,
        limits: DecodeLimits,
        costs: ReadingCosts,
        budget: Budget | None,
    ) -> None:
        self._requests = requests
        self._answers = answers
        self._window = window
        self._limits = limits
        self._costs = costs
        self._budget = budget
        self._kept: VideoFile | None = None
        self._closing = ExitStack()

    def serve(self, request: dict[str, Any]) -> None:
        if not request["again"]:
            self._forget()
        try:
            send_result = self._done(request)
        except SegmentError as error:
            send_error(self._answers, type(error).__name__, str(error), warnings=error.warnings)
        except VideoError as error:
            self._forget()
            send_error(self._answers, type(error).__name__, str(error), warnings=error.warnings)
        except MemoryError:
            self._forget()
            message = f"decoding needs more than {self._limits.memory_mb} MB of memory"
            send_error(self._answers, DecoderCrashedError.__name__, message)
        except Exception as error:
            # Nothing foreseen: not known to be the file's doing, and so not held against it.
            message = f"{type(error).__name__} in the decoding process: {error}"
            send_error(
                self._answers, DecoderFaultError.__name__, message, trace=traceback.format_exc()
            )
        else:
            send_result()

    def _done(self, request: dict[str, Any]) -> Callable[[], None]:
        """Do what is asked; return what sends it."""
        segment = Segment(*request["segment"])
        if "clip" in request:
            return partial(send, self._answers, CLIP, self._clip(request, segment))
        plan = SamplingPlan.model_validate(request["plan"])
        return partial(send_row, self._answers, video_row(self._decode(request, plan, segment)))

    def _decode(
        self, request: dict[str, Any], plan: SamplingPlan, segment: Segment
    ) -> DecodedVideo:
        if segment == WHOLE:
            with self._reader(request) as reader:
                return decode(reader, plan, self._limits, self._costs, self._budget)
        return self._file(request).decode(plan, self._budget, segment)

    def _clip(self, request: dict[str, Any], segment: Segment) -> bytes:
        most_bytes = request["clip"]
        if segment == WHOLE:
            with (
                self._reader(request) as reader,
                VideoFile(reader, self._limits, self._costs, parts=False) as file,
            ):
                return cut(file, segment, most_bytes)
        return cut(self._file(request), segment, most_bytes)

    def _reader(self, request: dict[str, Any]) -> RangeReader:
        return RangeReader(self._fetch, size=request["size"], name=request["name"])

    def _file(self, request: dict[str, Any]) -> VideoFile:
        """The file of a segment, which is kept."""
        if self._kept is None:
            with ExitStack() as opening:
                reader = opening.enter_context(self._reader(request))
                self._kept = opening.enter_context(
                    VideoFile(reader, self._limits, self._costs, parts=True)
                )
                self._closing = opening.pop_all()
        return self._kept

    def _forget(self) -> None:
        """Close the file that was kept."""
        self._kept = None
        self._closing.close()

    def _fetch(self, start: int, stop: int) -> bytes:
        send(self._answers, BYTES, SPAN.pack(start, stop))
        kind, size = HEADER.unpack(self._requests.read(HEADER.size))
        if kind != DATA:
            # The parent has the error itself, and does not need this one.
            raise StorageUnavailableError("the file cannot be read")
        return self._window[:size]


def _die_with_parent(requests: int) -> None:
    """End the process when the parent's end of the pipe closes, whatever it is doing."""
    poll = select.poll()
    poll.register(requests, 0)  # only the hang-up, which is always reported
    poll.poll()
    os._exit(0)
