"""``make demo``: the whole job on clips rendered here, from a local S3 server.

Renders clips, and a longer film that a manifest cuts into segments; uploads them, runs
``python -m rayjob.caption`` on them as a user would, makes the report page, and prints captions
beside what the clips show. Ends with 1 if too few are right.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow.dataset as ds
from rich.console import Console
from rich.table import Table

from tinyworld.render import write_video
from tinyworld.s3 import S3Gateway
from tinyworld.world import Scene, grade, sample_scenes
from tinyworld.world import caption as truth

MUST_BE_RIGHT = ("colour", "shape", "motion", "sound")
SIZES = ((224, 224), (320, 240), (240, 320), (320, 180))
BUCKET = "videos"
SHOWN = 6
SEGMENTS, SEGMENT_SEC = 6, 4


def render_clips(scenes: Sequence[Scene], folder: Path) -> dict[str, Scene]:
    """Render one MP4 per scene; returns file name -> scene."""
    folder.mkdir(parents=True, exist_ok=True)
    clips = {}
    for number, scene in enumerate(scenes):
        name = f"clip-{number:03d}.mp4"
        width, height = SIZES[number % len(SIZES)]
        seconds = 3.0 + number % 3
        write_video(folder / name, [(scene, seconds)], width=width, height=height)
        clips[name] = scene
    return clips


def render_film(scenes: Sequence[Scene], folder: Path) -> dict[str, Scene]:
    """Render one MP4 of all scenes, and the manifest of its segments; returns id -> scene."""
    folder.mkdir(parents=True, exist_ok=True)
    write_video(folder / "film.mp4", [(scene, float(SEGMENT_SEC)) for scene in scenes])
    spans = [(SEGMENT_SEC * number, SEGMENT_SEC * (number + 1)) for number in range(len(scenes))]
    lines = [f"film.mp4,{begin},{end}" for begin, end in spans]
    (folder / "segments.csv").write_text("\n".join(["path,start_sec,end_sec", *lines, ""]))
    return {
        f"film.mp4#t={begin},{end}": scene
        for (begin, end), scene in zip(spans, scenes, strict=True)
    }


def read_captions(output: Path) -> dict[str, str]:
    """video_id -> caption, by a plain read of the table."""
    table = ds.dataset(output / "captions", format="parquet", partitioning="hive").to_table()
    return dict(zip(table["video_id"].to_pylist(), table["caption"].to_pylist(), strict=True))


def main() -> int:
    """Run the demo; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--output", type=Path, default=Path("out/demo"))
    parser.add_argument("--config", default="configs/demo.yaml")
    parser.add_argument("--svg", type=Path, help="write what is printed as a picture")
    arguments = parser.parse_args()
    console = Console(record=True, width=100 if arguments.svg else None)

    shutil.rmtree(arguments.output, ignore_errors=True)
    console.print(f"Rendering {arguments.clips} clips ...")
    work = arguments.output / "input"
    clips = render_clips(sample_scenes(arguments.clips, arguments.seed), work)
    film = arguments.output / "film"
    clips |= render_film(sample_scenes(SEGMENTS, arguments.seed + 1), film)
    with S3Gateway(arguments.output / "s3", buckets=(BUCKET,)) as gateway:
        for path in sorted(work.iterdir()):
            gateway.client().upload_file(str(path), BUCKET, f"clips/{path.name}")
        for path in film.iterdir():
            gateway.client().upload_file(str(path), BUCKET, f"film/{path.name}")
        console.print(f"A local S3 server holds them at {gateway.endpoint_url}. Now running")
        environment = {**os.environ, **gateway.env}
        done = _run(
            console, environment, "rayjob.caption",
            "--config", arguments.config,
            "--input", f"s3://{BUCKET}/clips/",
            "--input", f"s3://{BUCKET}/film/segments.csv",
            "--output", str(arguments.output),
        )  # fmt: skip
        if not done.returncode:
            # While the clips can still be opened.
            page = _run(console, environment, "rayjob.report", "--input", str(arguments.output))
    shutil.rmtree(arguments.output / "s3")
    if done.returncode or page.returncode:
        console.print(f"[red]the job ended with exit code {done.returncode or page.returncode}[/]")
        return 1
    summary = json.loads(done.stdout.strip().splitlines()[-1])
    captions = read_captions(arguments.output)
    code = _report(console, clips, captions, summary, arguments.output)
    where = os.path.relpath(page.stdout.strip().splitlines()[-1])
    console.print(f"To look at them: {where}", soft_wrap=True)
    if arguments.svg:
        console.save_svg(str(arguments.svg), title="make demo")
    return code


def _run(
    console: Console, environment: dict[str, str], module: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run a command of the project as a user would."""
    console.print(f"  python -m {module} {' '.join(arguments)}", soft_wrap=True, highlight=False)
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def _report(
    console: Console,
    clips: dict[str, Scene],
    captions: dict[str, str],
    summary: dict[str, object],
    output: Path,
) -> int:
    table = Table("clip", "what it shows", "caption", show_lines=True)
    right = 0
    for number, (name, scene) in enumerate(clips.items()):
        told = captions.get(name, "")
        good = all(grade(told, scene, MUST_BE_RIGHT).values())
        right += good
        # The first clips, and the last segments.
        if number < SHOWN - 2 or number >= len(clips) - 2:
            table.add_row(name, truth(scene), f"[green]{told}[/]" if good else f"[red]{told}[/]")
    console.print(table)
    console.print(
        f"{right} of {len(clips)} captions name the right colour, shape, direction and sound; "
        f"{summary['videos_captioned']} captioned, {summary['videos_failed']} failed "
        f"in {summary['wall_sec']:.0f} s. Tables: {output}/captions"
    )
    return 0 if right >= 0.9 * len(clips) else 1


if __name__ == "__main__":
    sys.exit(main())
