"""``make demo-text``: a real language model fuses structured captions into English.

The captions stand here, in the published form; SmolLM2-135M-Instruct writes the texts, by
``python -m rayjob.fuse`` as a user would run it. Ends with 1 if too few are English about their
videos. So small a model leaves facts out and mixes some up: it shows the path, not the quality.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
from rich.console import Console
from rich.table import Table

from tinyworld import smollm2

TASKS = ("t2v", "i2v")


def _subject(name: str, appearance: str, action: str, expression: str, position: str) -> Any:
    kind, sub_type = name.split(" ")
    return {
        "TYPES": {"type": kind, "sub_type": sub_type},
        "appearance": appearance,
        "action": action,
        "expression": expression,
        "position": position,
        "is_main_subject": True,
    }


def _video(subject: Any, camera: str, environment: str, lighting: str) -> dict[str, Any]:
    return {
        "subjects": [subject],
        "shot_type": "medium_shot",
        "shot_angle": "eye_level",
        "shot_position": "front_view",
        "camera_motion": camera,
        "environment": environment,
        "lighting": lighting,
    }


VIDEOS = {
    "baker.mp4": _video(
        _subject(
            "Human Baker", "an old man with a white beard and an apron",
            "kneads dough on a wooden table", "calm", "in the middle",
        ),
        "the camera moves closer", "a small bakery with loaves on the shelves", "warm light",
    ),
    "dog.mp4": _video(
        _subject(
            "Animal Dog", "a brown dog with a red collar",
            "runs along the beach and catches a yellow ball", "excited", "in the foreground",
        ),
        "the camera follows the dog", "a wide beach beside a grey sea", "light of a cloudy day",
    ),
    "train.mp4": _video(
        _subject(
            "Vehicle Train", "a green steam train", "crosses a stone bridge", "", "at the left"
        ),
        "the camera stays still", "a valley with a river and a forest", "clear winter light",
    ),
    "chef.mp4": _video(
        _subject(
            "Human Woman", "a woman with short black hair and a white jacket",
            "cuts carrots with a large knife", "concentrated", "at the left",
        ),
        "the camera does not move", "a modern kitchen", "bright light from above",
    ),
}  # fmt: skip
"""Structured captions of videos that might be."""

SUBJECTS = {
    "baker.mp4": ("baker", "man", "dough"),
    "dog.mp4": ("dog", "ball", "beach"),
    "train.mp4": ("train", "bridge"),
    "chef.mp4": ("woman", "carrots", "knife"),
}
"""Words of which a text about the video has one."""

_COMMON = frozenset({
    "a", "an", "and", "are", "as", "at", "by", "for", "from", "has", "in", "into", "is", "it",
    "its", "of", "on", "or", "that", "the", "there", "to", "with",
})  # fmt: skip
LEAST_COMMON = 0.15
"""Share of words of the commonest kind: in running English a third or more, in JSON few."""


def problem(text: str, subjects: tuple[str, ...], prompt: str) -> str | None:
    """Why a text is not English about a video, None where it is.

    Args:
        subjects: words of which the text has one.
        prompt: what asked for it.
    """
    words = re.findall(r"[a-z']+", text.lower())
    if len(words) < 5:
        return "hardly a word"
    if sum(word in _COMMON for word in words) < LEAST_COMMON * len(words):
        return "not English"
    if re.search(r'[{}\[\]]|"\w+":', text):
        return "JSON"
    if not set(subjects) & set(words):
        return f"not about {', '.join(subjects)}"
    if any(line in text for line in prompt.splitlines() if len(line) > 20):
        return "an echo of the prompt"
    return None


def write_csv(path: Path) -> None:
    """The captions as a CSV of SkyCaptioner's scripts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["path", "structural_caption"])
        out.writerows([name, json.dumps(fields)] for name, fields in VIDEOS.items())


def read_texts(output: Path) -> dict[tuple[str, str], str]:
    """(task, video_id) -> text, by a plain read of the tables."""
    rows = ds.dataset(output / "fused", format="parquet", partitioning="hive").to_table()
    return {(row["task"], row["video_id"]): row["caption"] for row in rows.to_pylist()}


def main() -> int:
    """Run the demo; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("out/demo-text"))
    output = parser.parse_args().output
    console = Console()
    smollm2.checkpoint()
    shutil.rmtree(output, ignore_errors=True)
    write_csv(output / "captions.csv")
    for task in TASKS:
        command = [
            *("-m", "rayjob.fuse", "--config", f"configs/demo-text-{task}.yaml"),
            *("--input", str(output / "captions.csv"), "--output", str(output)),
        ]
        console.print(f"  python {' '.join(command)}", soft_wrap=True, highlight=False)
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        done = subprocess.run([sys.executable, *command], env=environment, stdout=subprocess.PIPE)
        if done.returncode:
            console.print(f"[red]the job ended with exit code {done.returncode}[/]")
            return 1
    return _report(console, output)


def _report(console: Console, output: Path) -> int:
    table = Table("video", "task", "text", show_lines=True)
    right = 0
    texts = read_texts(output)
    for (task, video), text in sorted(texts.items(), key=lambda item: (item[0][1], item[0][0])):
        prompt = Path(f"tinyworld/prompts/smollm2-{task}.txt").read_text("utf-8")
        wrong = problem(text, SUBJECTS[video], prompt)
        right += wrong is None
        table.add_row(video, task, f"[green]{text}[/]" if wrong is None else f"{text} [red]{wrong}")
    console.print(table)
    wanted = len(VIDEOS) * len(TASKS)
    console.print(
        f"{right} of {wanted} texts are English about their video. Tables: {output}/fused"
    )
    return 0 if right >= 0.75 * wanted else 1


if __name__ == "__main__":
    sys.exit(main())
