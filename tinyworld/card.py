"""The model card: what the model is, and what was measured of it."""

from __future__ import annotations

from pathlib import Path

_HEAD = """\
---
license: apache-2.0
library_name: transformers
base_model: []
tags: [test-model, qwen2_5_omni, video, audio]
---

# tiny-omni

A captioning model of {millions:.1f} million parameters with the architecture of Qwen2.5-Omni
(`Qwen2_5OmniForConditionalGeneration`, thinker only, bf16, {megabytes:.1f} MB). It knows the world
of `tinyworld/world.py` and nothing else: coloured shapes that move over coloured backgrounds, one
letter or digit, five kinds of sound. What a caption should say is known for every clip, so the
whole way from a video file to a caption can be tested without a GPU, and the result graded.

It was trained by `python -m tinyworld.train` on clips that `tinyworld/render.py` draws. What can be
heard, what can be seen, questions and what has changed between two moments it was taught later, by
`--start`, with the older tasks among them: ten minutes of processor time, five of them on two
cores.

## What it takes

- Eight frames evenly from a clip of 2 to 6 seconds, at most 12,544 pixels each, and the sound at
  16 kHz, interleaved (`use_audio_in_video`); or one picture; or sound alone; or text alone.
- `mm_processor_kwargs={{"size": {{"shortest_edge": 6272, "longest_edge": 12800}}}}`, and for every
  clip `fps` and `second_per_grid_ts = [2 / fps]` with the rate at which frames were sampled.
- The prompts in `tinyworld/prompts/`. It follows no other instruction.

## Accuracy

Measured by

    python -m tinyworld.measure --model {model} --clips {clips} --seed {seed}

on clips that were rendered to H.264 and AAC in MP4 files, decoded, and captioned greedily by vLLM.
Their combinations of attributes were kept out of training (`world.split_of`). `all` counts answers
in which everything is right.

"""


def write_card(
    folder: Path,
    table: dict[str, dict[str, float]],
    numbers: dict[str, int],
    *,
    clips: int,
    seed: int,
) -> None:
    """Write the README of a model folder.

    Args:
        folder: the model's.
        table: accuracy by what was measured and by attribute.
        numbers: how many answers each row of the table rests on.
        clips: argument of the measurement.
        seed: argument of the measurement.
    """
    size = (folder / "model.safetensors").stat().st_size
    lines = [
        _HEAD.format(
            millions=size / 2e6, megabytes=size / 1e6, model=folder, clips=clips, seed=seed
        )
    ]
    for name, row in table.items():
        keys = list(row)
        lines += [
            f"### {name} ({numbers[name]} answers)\n",
            f"| {' | '.join(keys)} |",
            f"|{' --- |' * len(keys)}",
            f"| {' | '.join(f'{row[key]:.1%}' for key in keys)} |\n",
        ]
    (folder / "README.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
