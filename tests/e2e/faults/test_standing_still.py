"""Parts that are stopped or killed on their own are noticed, and nothing is left of the run."""

from __future__ import annotations

import contextlib
import http.server
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support import jobs
from tinyworld.render import write_video
from tinyworld.world import sample_scenes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]

CLIPS = 40
ENGINE, REPLICA, DECODER = "VLLM::EngineCore", "MapBatches(Captioner)", "MapBatches(Decoder)"
RAYS_AGENTS = {"ray::DashboardAgent", "ray::RuntimeEnvAgent"}
"""They try for 60 seconds to tell the head of the cluster that their raylet is gone, also where
the head went with it."""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number, scene in enumerate(sample_scenes(CLIPS, seed=23)):
        write_video(folder / f"{number:02d}.mp4", [(scene, 3.0)])
    return folder


class Running:
    """A job that is at work: its first shard is written, or a part of it has started.

    Attributes:
        processes: all that it has started.
    """

    def __init__(self, clips: Path, output: Path, *settings: str, part: str = "") -> None:
        flags = [word for setting in settings for word in ("--set", setting)]
        self._log = output.with_suffix(".log")
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                jobs.command(
                    [
                        *jobs.DEMO,
                        *("--input", clips, "--output", output),
                        *("--set", "engine.videos_in_flight=1", "--set", "shards.rows=2"),
                        *flags,
                    ]
                ),
                cwd=jobs.ROOT,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + jobs.TIMEOUT
        self.processes: list[psutil.Process] = []
        while not (self.named(part) if part else list(output.glob("captions/*/*/*.parquet"))):
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline
            time.sleep(0.05)
            self.processes = psutil.Process(self.process.pid).children(recursive=True)

    @property
    def said(self) -> str:
        return self._log.read_text()

    def send(self, number: signal.Signals, *, to: str) -> None:
        chosen = self.named(to)
        assert chosen, self.processes
        for each in chosen:
            each.send_signal(number)

    def named(self, part: str) -> list[psutil.Process]:
        found = []
        for each in self.processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                if part == ENGINE:
                    is_it = jobs.is_engine(each)
                else:
                    is_it = any(part in word for word in each.cmdline())
                if is_it:
                    found.append(each)
        return found

    def end(self, *, within: float) -> int:
        try:
            return self.process.wait(timeout=within)
        finally:
            self.process.kill()

    def survivors(self, *, after: float) -> list[str]:
        """Names of those that are there still; those of Ray's that go by themselves are waited
        for, all others are killed.
        """
        _, alive = psutil.wait_procs(self.processes, timeout=after)
        names = {each: each.name() for each in alive}
        agents = [each for each, name in names.items() if name in RAYS_AGENTS]
        _, late = psutil.wait_procs(agents, timeout=90)
        left = [each for each in alive if each not in agents or each in late]
        for each in left:
            each.kill()
        return [names[each] for each in left]


@pytest.mark.parametrize("part", [ENGINE, REPLICA])
def test_a_stopped_engine_starts_again(clips: Path, tmp_path: Path, part: str) -> None:
    job = Running(clips, tmp_path / "out", "health.engine_silent_sec=5")
    job.send(signal.SIGSTOP, to=part)
    assert job.end(within=300) == 0, job.said
    assert len(jobs.captions(tmp_path / "out")) == CLIPS
    assert job.survivors(after=30) == []


@pytest.mark.parametrize(
    ("part", "said"),
    [(DECODER, "nothing has moved for"), ("ray::Monitor", "its driver stood still for")],
)
def test_a_run_that_does_not_move_ends(clips: Path, tmp_path: Path, part: str, said: str) -> None:
    job = Running(
        clips,
        tmp_path / "out",
        *("health.engine_silent_sec=5", "health.run_silent_sec=40"),
        "decode.limits.wall_seconds=5",
        # Decoders are through with these videos before the first shard is written.
        part=part if part == DECODER else "",
    )
    job.send(signal.SIGSTOP, to=part)
    assert job.end(within=240) == 1, job.said
    assert f"error: the run stopped: {said}" in job.said
    assert "where the run stands:" in job.said and "in _work" in job.said
    for each in job.named(part):
        each.resume()
    assert job.survivors(after=30) == []


@pytest.mark.parametrize("part", ["raylet/raylet", "the driver"])
def test_nothing_survives_what_is_killed(clips: Path, tmp_path: Path, part: str) -> None:
    job = Running(clips, tmp_path / "out")
    if part == "the driver":
        job.process.kill()
    else:
        job.send(signal.SIGKILL, to=part)
    assert job.survivors(after=30) == []
    assert job.end(within=30) == (-signal.SIGKILL if part == "the driver" else 1)
    assert job.said.strip().splitlines()[-1].startswith("error: ")


class Denying(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(403)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def denied() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Denying) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_night_without_access_leaves_the_videos_alone(
    clips: Path, tmp_path: Path, denied: str
) -> None:
    names = sorted(path.name for path in clips.iterdir())
    manifest = tmp_path / "manifest.csv"

    def night(place: str) -> jobs.Done:
        lines = [f"{name},{place}/{name}" for name in names]
        manifest.write_text("\n".join(["video_id,uri", *lines]) + "\n")
        return jobs.caption(
            *(*jobs.DEMO, "--input", manifest, "--output", tmp_path / "out"),
            *("--set", f"storage.places=[{denied}, {clips}]"),
        )

    for _ in range(3):
        done = night(denied)
        assert done.code == 1
        assert "AccessDeniedError" in done.stderr and "videos in a row" in done.stderr
        assert jobs.read(tmp_path / "out", "failures") == []
    assert night(os.fspath(clips)).code == 0
    assert len(jobs.captions(tmp_path / "out")) == CLIPS
