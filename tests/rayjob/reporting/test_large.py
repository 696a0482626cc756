"""A large run: the page says what it samples, and stays small."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from rayjob.output.store import TableStore
from schemas.tables import CAPTIONS, utc_now
from tests.support.outputs import caption
from tests.support.reports import make_run, page_of, render

ROWS = 100_000
FILES = 10


def test_a_hundred_thousand_rows(tmp_path: Path) -> None:
    store = TableStore(tmp_path / "out")
    videos = [str(path) for path in render(tmp_path / "videos", 4)]
    make_run(store, "r1", captions={"omni": [caption("first.mp4", uri=videos[0])]})
    for number in range(FILES):
        store.write_table(
            f"captions/recipe=omni/run_id=r1/{number}.parquet", rows(number, ROWS // FILES, videos)
        )
    started = time.monotonic()
    page = page_of(store, "r1", sample=60)
    seconds = time.monotonic() - started
    assert seconds < 60
    assert len(page.encode()) < 20_000_000
    assert f"60 of {ROWS + 1:,} videos, chosen by a hash of their id with seed 0" in page
    # All rows are counted, not the sample's: every tenth is truncated.
    assert f"truncated {ROWS // 10:,}" in page
    assert 60 <= page.count('<article class="card') <= 66, "up to six more for being truncated"
    assert page.count('alt="frame at') > 60


def test_the_sample_depends_on_the_seed_alone(tmp_path: Path) -> None:
    stores = [TableStore(tmp_path / name) for name in ("one", "other")]
    ids = [f"v{number}.mp4" for number in range(500)]
    for store, order in zip(stores, (ids, ids[::-1]), strict=True):
        make_run(store, "r1", captions={"omni": [caption(each) for each in order]})

    def sampled(store: TableStore, seed: int) -> set[str]:
        page = page_of(store, "r1", sample=20, seed=seed, pictures=False)
        return {each for each in ids if f"<h3>{each}</h3>" in page}

    first = sampled(stores[0], 1)
    assert len(first) == 20
    assert sampled(stores[1], 1) == first
    assert sampled(stores[0], 2) != first


def rows(part: int, count: int, videos: list[str]) -> pa.Table:
    """Rows of as many videos, 20 to 219 words each."""
    numbers = np.arange(count) + part * count
    words = ["lantern", "harbour", "slowly", "behind", "two", "people", "walk", "past"] * 30
    now = utc_now()
    columns = {
        "video_id": [f"clips/{number:06d}.mp4" for number in numbers],
        "uri": [videos[number % len(videos)] for number in numbers],
        "level": ["video"] * count,
        "index": [0] * count,
        "caption": [" ".join(words[: 20 + number % 200]) for number in numbers],
        "caption_status": ["truncated" if number % 10 == 0 else "ok" for number in numbers],
        "attempts": [1] * count,
        "output_tokens": [30] * count,
        "duration_sec": (numbers % 60).astype(np.float64),
        "model": ["tiny"] * count,
        "prompt_hash": ["0123456789abcdef"] * count,
        "created_at": [now] * count,
    }
    nulls = {name: [None] * count for name in CAPTIONS.names if name not in columns}
    return pa.table({**columns, **nulls}).select(CAPTIONS.names).cast(CAPTIONS)
