"""``rayjob export --format webdataset``: shards that training reads, and what is left out."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import webdataset

from rayjob.output.store import TableStore
from schemas.tables import CaptionRow
from tests.actors.confinement.test_sandbox import with_child
from tests.rayjob.exporting.test_export import export, exported, fill
from tests.support.jobs import ROOT
from tests.support.media import Sound, number_of, render
from tests.support.outputs import caption, open_store


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films of 4 s with a key frame each second, and what is not one."""
    folder = tmp_path_factory.mktemp("films")
    for name in ("a.mp4", "b.mkv"):
        render(folder / name, count=100, gop=25, b_frames=2, sounds=[Sound(seconds=4)])
    (folder / "c.mp4").write_text("no video " * 100)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> TableStore:
    return TableStore(tmp_path / "out")


def row(video: Path, segment: str = "", **changes: Any) -> CaptionRow:
    return caption(f"clips/{video.name}{segment}", uri=f"{video}{segment}", **changes)


def rows_of(films: Path) -> list[CaptionRow]:
    a, b = films / "a.mp4", films / "b.mkv"
    return [
        row(a, metadata='{"title": "x", "n": 1}'),
        row(a, level="clip", index=0, start_sec=1.0, end_sec=2.0),
        row(a, level="clip", index=1, start_sec=1.2, end_sec=2.4, structured='{"mood": "calm"}'),
        row(films / "c.mp4"),
        row(b, "#t=2,3.5", start_sec=2.0, end_sec=3.5, segment_start_sec=2.0, sample=0),
        row(b, "#t=2,3.5", start_sec=2.0, end_sec=3.5, segment_start_sec=2.0, sample=1),
        row(films / "gone.mp4"),
    ]


def shards(store: TableStore) -> list[bytes]:
    """Those that the index names."""
    index = json.loads(store.read_bytes("index.json"))
    return [store.read_bytes(shard["path"]) for shard in index["shards"]]


def samples(data: bytes) -> dict[str, dict[str, bytes]]:
    """Key -> ending -> bytes, by tarfile."""
    found: dict[str, dict[str, bytes]] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as shard:
        for member in shard:
            key, _, ending = member.name.partition(".")
            file = shard.extractfile(member)
            assert file is not None
            found.setdefault(key, {})[ending] = file.read()
    return found


def noise(path: Path, *, count: int) -> Path:
    """A film of large frames."""
    chance = np.random.default_rng(0)
    return render(
        path, count=count, gop=12, width=320, height=240,
        image=lambda _: chance.integers(0, 255, (240, 320, 3), dtype=np.uint8),
    )  # fmt: skip


def numbers(clip: bytes) -> tuple[int, int]:
    """Of the first frame and the last."""
    with av.open(io.BytesIO(clip)) as container:
        assert len(container.streams.audio) == 1
        found = [number_of(each.to_ndarray(format="rgb24")) for each in container.decode(video=0)]
        return found[0], found[-1]


def test_webdataset_opens_the_shards(store: TableStore, films: Path, tmp_path: Path) -> None:
    fill(store, rows_of(films))
    folder = tmp_path / "set"
    assert exported(store, "webdataset", folder) == str(folder)
    index = json.loads((folder / "index.json").read_text())
    paths = [str(folder / shard["path"]) for shard in index["shards"]]
    read = [*webdataset.WebDataset(paths, shardshuffle=False)]
    assert [each["__key__"] for each in read] == [f"{number:09d}" for number in range(5)]
    told = [json.loads(each["json"]) for each in read]
    assert [each["video_id"] for each in told] == [
        "clips/a.mp4", "clips/a.mp4", "clips/a.mp4", "clips/b.mkv#t=2,3.5", "clips/b.mkv#t=2,3.5",
    ]  # fmt: skip
    assert told[0]["metadata"] == {"title": "x", "n": 1}
    assert told[0]["caption"] == "This is clips/a.mp4."
    assert (told[0]["recipe"], told[0]["run_id"]) == ("omni", "r1")
    assert (told[2]["start_sec"], told[2]["end_sec"]) == (1.2, 2.4)
    assert told[2]["structured"] == {"mood": "calm"}
    assert [each["sample"] for each in told[3:]] == [0, 1]
    ends = [(0, 99), (25, 49), (30, 59), (50, 87), (50, 87)]
    assert [numbers(each["mp4"]) for each in read] == ends


def test_what_cannot_be_cut_is_told(
    store: TableStore, films: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(store, rows_of(films))
    done = export(store.url, "webdataset", tmp_path / "set")
    assert done.exit_code == 0
    index = json.loads((tmp_path / "set" / "index.json").read_text())
    assert index["clips"] == 5
    assert index["left_out"] == {"NotAVideoError": 1, "NotFoundError": 1}
    lines = (tmp_path / "set" / index["left_out_rows"]).read_text().splitlines()
    told = [json.loads(line) for line in lines]
    assert [(each["video_id"], each["error"]) for each in told] == [
        ("clips/c.mp4", "NotAVideoError"), ("clips/gone.mp4", "NotFoundError"),
    ]  # fmt: skip
    assert "not a media file" in told[0]["message"]
    assert "2 captions left out: 1 NotAVideoError, 1 NotFoundError" in caplog.text


def test_a_file_that_takes_its_process_down_fails_alone(
    store: TableStore, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_child(
        monkeypatch,
        "import signal\n"
        "from actors.confinement import child\n"
        "made = child._Server._reader\n"
        "def reader(server, request):\n"
        "    if request['name'] == 'c.mp4': signal.raise_signal(signal.SIGSEGV)\n"
        "    return made(server, request)\n"
        "child._Server._reader = reader\n"
        "child.main()",
    )
    rows = [row(films / "c.mp4", sample=number) for number in range(2)]
    fill(store, [row(films / "a.mp4"), *rows, row(films / "b.mkv")])
    exported(store, "webdataset", tmp_path / "set", "--workers", "1")
    index = json.loads((tmp_path / "set" / "index.json").read_text())
    assert (index["clips"], index["left_out"]) == (2, {"DecoderCrashedError": 2})


def test_where_nothing_can_be_cut_the_old_export_stays(
    store: TableStore, films: Path, tmp_path: Path
) -> None:
    fill(store, rows_of(films))
    exported(store, "webdataset", tmp_path / "set")
    before = (tmp_path / "set" / "index.json").read_text()
    done = export(store.url, "webdataset", tmp_path / "set", "--where", "video_id = 'clips/c.mp4'")
    assert done.exit_code == 2
    assert "no clip could be cut (1 NotAVideoError), the first: not a media file" in done.stderr
    assert (tmp_path / "set" / "index.json").read_text() == before
    assert shards(TableStore(tmp_path / "set"))


@pytest.mark.parametrize(
    ("flags", "sizes"),
    [(("--shard-clips", "2"), [2, 2, 1]), (("--shard-mb", "1"), [1, 1, 1, 1, 1]), ((), [5])],
)
def test_shards_by_bytes_and_count(
    store: TableStore, tmp_path: Path, flags: tuple[str, ...], sizes: list[int]
) -> None:
    film = noise(tmp_path / "noise.mp4", count=12)
    assert 0.5e6 < film.stat().st_size < 1e6
    fill(store, [row(film, sample=number) for number in range(5)])
    exported(store, "webdataset", tmp_path / "set", *flags)
    made = [samples(data) for data in shards(TableStore(tmp_path / "set"))]
    assert [len(each) for each in made] == sizes
    keys = [key for each in made for key in each]
    assert keys == [f"{number:09d}" for number in range(5)]
    names = sorted(path.name for path in (tmp_path / "set").rglob("*.tar"))
    assert names == [f"{number:06d}.tar" for number in range(len(sizes))]


def test_a_clip_that_is_too_large_is_left_out(
    store: TableStore, films: Path, tmp_path: Path
) -> None:
    film = noise(tmp_path / "noise.mp4", count=24)
    assert film.stat().st_size > 1e6
    fill(store, [row(films / "a.mp4"), row(film)])
    exported(store, "webdataset", tmp_path / "set", "--clip-mb", "1")
    index = json.loads((tmp_path / "set" / "index.json").read_text())
    assert (index["clips"], index["left_out"]) == (1, {"MediaLimitError": 1})


def test_on_s3(request: pytest.FixtureRequest, films: Path, tmp_path: Path) -> None:
    store = open_store("gateway", request, tmp_path)
    for name in ("a.mp4", "b.mkv"):
        store.write_bytes(f"films/{name}", (films / name).read_bytes())
    uris = [f"{store.url}/films/a.mp4", f"{store.url}/films/b.mkv#t=1,2"]
    fill(store, [caption(uri, uri=uri) for uri in uris])
    for _ in range(2):
        assert exported(store, "webdataset", f"{store.url}/set") == f"{store.url}/set"
    assert len([*store.list("set", suffix=".tar")]) == 1
    at = TableStore(f"{store.url}/set", store.options)
    (shard,) = shards(at)
    assert [numbers(each["mp4"]) for each in samples(shard).values()] == [(0, 99), (25, 49)]


def test_a_killed_export_leaves_the_old_one(store: TableStore, films: Path, tmp_path: Path) -> None:
    spans = [f"#t={number / 100:.2f},3" for number in range(200)]
    fill(store, [row(films / "a.mp4", span) for span in spans])
    folder = tmp_path / "set"
    exported(store, "webdataset", folder, "--where", "video_id LIKE '%#t=0.0%'")
    old = shards(TableStore(folder))
    assert len(samples(old[0])) == 10
    command = [sys.executable, "-m", "rayjob.export", "--input", store.url]
    command += ["--format", "webdataset", "--output", str(folder), "--shard-clips", "20"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(folder.rglob("*.tar"))) < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert shards(TableStore(folder)) == old
    exported(store, "webdataset", folder, "--where", "video_id LIKE '%#t=0.1%'")
    assert len(list(folder.rglob("*.tar"))) == 1, "what was killed is cleared away"
