"""Measure the tiny model: `python -m tinyworld.measure --model models/tiny-omni --clips 400`.

Clips of attribute combinations that training has never shown are rendered to MP4 files, decoded
again and captioned greedily through vLLM. The table goes into the model's README.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tinyworld import questions, tasks
from tinyworld.model import PIXELS
from tinyworld.pool import FRAME_PIXELS, FRAMES, RATE, SIZES
from tinyworld.render import write_video
from tinyworld.tasks import Pair
from tinyworld.world import (
    FRAME_ATTRIBUTES,
    OMNI_ATTRIBUTES,
    VISUAL_ATTRIBUTES,
    Scene,
    action,
    grade,
    read_events,
    sample_scenes,
)  # fmt: skip

Marks = dict[str, bool]
STRUCTURED = ("colour", "shape", "size", "action", "position", "background", "camera", "lighting",
              "angle", "shot type", "shot position")  # fmt: skip


@dataclass(slots=True)
class Clip:
    """What is read back from a file: frames uint8 (8, H, W, 3), the wave or None, the rate."""

    frames: NDArray[np.uint8]
    wave: NDArray[np.float32] | None
    fps: float


@dataclass(slots=True)
class Question:
    """One request, and how its answer is marked."""

    pair: Pair
    media: dict[str, Any]
    options: dict[str, Any]
    mark: Callable[[str], Marks]


def read_clip(path: Path) -> Clip:
    """Eight frames evenly from the first to the last, within the pixel budget, and the sound."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [(float(frame.time or 0.0), frame) for frame in container.decode(stream)]
        last = frames[-1][0]
        scale = min(1.0, (FRAME_PIXELS / (stream.width * stream.height)) ** 0.5)
        size = (round(stream.width * scale), round(stream.height * scale))
        chosen = []
        for moment in np.linspace(0, last, FRAMES):
            shown = [frame for time, frame in frames if time <= moment + 1e-4][-1]
            picture = Image.fromarray(shown.to_ndarray(format="rgb24"))
            picture = picture.resize(size, Image.Resampling.BICUBIC)
            chosen.append(np.asarray(picture))
    with av.open(str(path)) as container:
        parts = (
            [frame.to_ndarray().mean(0) for frame in container.decode(audio=0)]
            if container.streams.audio
            else []
        )
    wave = np.concatenate(parts).astype(np.float32) if parts else None
    return Clip(np.stack(chosen), wave, (FRAMES - 1) / last)


def video_media(clip: Clip) -> tuple[dict[str, Any], dict[str, Any]]:
    """Media and processor options for a clip, its sound interleaved if it has any."""
    metadata = {
        "fps": clip.fps,
        "duration": len(clip.frames) / clip.fps,
        "total_num_frames": len(clip.frames),
        "frames_indices": list(range(len(clip.frames))),
        "video_backend": "tinyworld",
        "do_sample_frames": False,
    }
    media: dict[str, Any] = {"video": (clip.frames, metadata)}
    options: dict[str, Any] = {"fps": clip.fps, "second_per_grid_ts": [2 / clip.fps]}
    if clip.wave is not None:
        media["audio"] = (clip.wave, RATE)
        options["use_audio_in_video"] = True
    return media, options


def mark_structured(text: str, scene: Scene) -> Marks:
    """Which fields of the JSON are right; none, if it is no JSON."""
    try:
        found = json.loads(text)
        thing = found["subjects"][0]
        words = thing["appearance"].split()
        return {
            "colour": scene.colour in words,
            "shape": scene.shape in words and thing["TYPES"]["sub_type"] == scene.shape,
            "size": scene.size in words,
            "action": thing["action"] == action(scene),
            "position": thing["position"] == scene.position,
            "background": found["environment"] == f"a {scene.background} background",
            "camera": found["camera_motion"] == scene.camera,
            "lighting": found["lighting"] == scene.lighting,
            "angle": found["shot_angle"] == scene.angle,
            "shot type": found["shot_type"] == scene.shot_type,
            "shot position": found["shot_position"] == scene.shot_position,
        }
    except (ValueError, KeyError, IndexError, TypeError):
        return dict.fromkeys(STRUCTURED, False)


def mark_events(text: str, scenes: list[Scene]) -> Marks:
    """Which attributes are right of every event told, and whether so many were told."""
    events = read_events(text)
    told: Marks = {
        name: len(events) == len(scenes)
        and all(
            (event[name] or "none") == getattr(scene, name)
            for event, scene in zip(events, scenes, strict=True)
        )
        for name in VISUAL_ATTRIBUTES
    }
    return {**told, "number of events": len(events) == len(scenes)}


def mark_same(text: str, answer: str) -> Marks:
    """Whether the text is the expected one, word by word."""
    return {"exact": text.strip() == answer}


def requests(count: int, seed: int, folder: Path) -> dict[str, list[Question]]:
    """All requests, by the name of what they measure; older kinds are drawn as they ever were."""
    rng, own_rng = random.Random(seed), random.Random(seed + 2)
    asked: dict[str, list[Question]] = defaultdict(list)
    others = sample_scenes(count, seed + 1)
    for number, scene in enumerate(sample_scenes(count, seed)):
        width, height = SIZES[number % len(SIZES)]
        seconds = round(rng.uniform(2, 6), 1)
        path = folder / f"{number}.mp4"
        write_video(
            path, [(scene, seconds)], width=width, height=height, crf=rng.randint(18, 28),
            drop_silent_track=0.3,
        )  # fmt: skip
        clip = read_clip(path)
        media, options = video_media(clip)
        pair = tasks.omni(scene)
        asked["omni"].append(Question(pair, media, options, _grader(scene, OMNI_ATTRIBUTES)))
        pair = tasks.structured(scene)
        asked["structured"].append(
            Question(pair, media, options, partial(mark_structured, scene=scene))
        )
        if number % 2 == 0:
            picture = Image.fromarray(clip.frames[rng.randrange(FRAMES)])
            mark = _grader(scene, FRAME_ATTRIBUTES)
            asked["frame"].append(Question(tasks.frame(scene), {"image": picture}, {}, mark))
            context = tasks.random_context(rng)
            asked["clip"].append(_clip_question([scene], context, media, options))
        if number % 4 == 0:
            share = rng.uniform(0.35, 0.65) * seconds
            scenes = [scene, others[number]]
            lengths = [share, seconds - share]
            write_video(path, list(zip(scenes, lengths, strict=True)), width=width, height=height)
            told = _clip_question(scenes, tasks.random_context(rng), *video_media(read_clip(path)))
            asked["clip of two scenes"].append(told)
            _ask_anew(asked, scenes, read_clip(path), own_rng)
        else:
            _ask_anew(asked, [scene], clip, own_rng)
        if number % 4 == 1 and clip.wave is not None:
            pair = tasks.sound_only(scene)
            asked["sound only"].append(
                Question(pair, {"audio": (clip.wave, RATE)}, {}, _grader(scene, ("sound",)))
            )
        if number % 4 == 2:
            for pair in (
                tasks.t2v(tasks.fusion_input(scene, rng)),
                tasks.i2v(tasks.motion_input(scene, rng)),
                tasks.long(tasks.random_windows(rng)),
            ):
                mark = partial(mark_same, answer=pair.answer)
                asked[pair.task].append(Question(pair, {}, {}, mark))
        path.unlink()
    return asked


def _ask_anew(
    asked: dict[str, list[Question]], scenes: list[Scene], clip: Clip, rng: random.Random
) -> None:
    """What picture or sound tell alone, what has changed between two frames, and questions."""
    media, options = video_media(clip)
    picture, picture_options = video_media(replace(clip, wave=None))
    kinds = ["background_change"]
    if len(scenes) == 1:
        grader = _grader(scenes[0], VISUAL_ATTRIBUTES)
        pair = tasks.seen(scenes[0])
        asked["seen"].append(Question(pair, picture, picture_options, grader))
        if clip.wave is not None:
            pair = tasks.heard(scenes[0])
            mark = partial(mark_same, answer=pair.answer)
            asked["heard"].append(Question(pair, {"audio": (clip.wave, RATE)}, {}, mark))
        kinds = [kind for kind in questions.ASKED if kind != "sound" or clip.wave is not None]
    for kind in kinds:
        pair = questions.ask(questions.question(kind, scenes, rng))
        mark = partial(mark_same, answer=pair.answer)
        asked[pair.task].append(Question(pair, media, options, mark))
    # Two moments a quarter of the clip apart or more; of a clip of two scenes the outermost.
    first, second = 0, FRAMES - 2
    if len(scenes) == 1:
        first = rng.randrange(FRAMES - 3)
        second = rng.randrange(first + 2, FRAMES - 1)
    rate = 3 * clip.fps / (second + 1 - first)
    key = Clip(clip.frames[[first, first + 1, second, second + 1]], None, rate)
    moved = None if scenes[0].motion == "still" else scenes[0].motion
    pair = tasks.change(scenes[0], scenes[-1], moved, tasks.told_before(scenes[0], rng))
    mark = partial(mark_same, answer=pair.answer)
    asked["differential"].append(Question(pair, *video_media(key), mark))


def _grader(scene: Scene, attributes: tuple[str, ...]) -> Callable[[str], Marks]:
    return lambda text: grade(text, scene, attributes)


def _clip_question(
    scenes: list[Scene], context: str, media: dict[str, Any], options: dict[str, Any]
) -> Question:
    pair = tasks.clip(scenes, context)
    return Question(pair, media, options, lambda text: mark_events(text, scenes))


def answer(model: str, asked: dict[str, list[Question]]) -> dict[str, list[str]]:
    """Greedy answers through vLLM, in the order of the questions."""
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    from vllm import LLM, SamplingParams

    engine = LLM(
        model,
        dtype="bfloat16",
        enforce_eager=True,
        kv_cache_memory_bytes=64 << 20,
        max_model_len=2048,
        # Either cache can answer with another clip's sound where sound lies inside a video.
        enable_prefix_caching=False,
        mm_processor_cache_gb=0,
        limit_mm_per_prompt={"video": 1, "image": 1, "audio": 1},
        mm_processor_kwargs={"size": PIXELS},
    )
    tokenizer = engine.get_tokenizer()
    greedy = SamplingParams(temperature=0, max_tokens=320)
    told: dict[str, list[str]] = {}
    for name, group in asked.items():
        prompts = [_input(tokenizer, question) for question in group]
        outputs = engine.generate(prompts, greedy, use_tqdm=False)
        told[name] = [output.outputs[0].text for output in outputs]
    return told


def _input(tokenizer: Any, question: Question) -> Any:
    """vLLM's prompt: the chat template's text, media and the processor's options."""
    kind = next((kind for kind in ("video", "image", "audio") if kind in question.media), None)
    content: list[dict[str, str]] = [{"type": kind}] if kind else []
    content.append({"type": "text", "text": question.pair.prompt})
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    prompt: dict[str, Any] = {"prompt": text}
    if question.media:
        prompt["multi_modal_data"] = question.media
    if question.options:
        prompt["mm_processor_kwargs"] = question.options
    return prompt


def score(
    asked: dict[str, list[Question]], told: dict[str, list[str]]
) -> dict[str, dict[str, float]]:
    """Accuracy by what is measured and attribute; `all` is for all attributes at once."""
    table: dict[str, dict[str, float]] = {}
    for name, group in asked.items():
        marks = [q.mark(text) for q, text in zip(group, told[name], strict=True)]
        row = {key: sum(mark[key] for mark in marks) / len(marks) for key in marks[0]}
        row["all"] = sum(all(mark.values()) for mark in marks) / len(marks)
        table[name] = row
    return table


def main() -> None:
    """Parse the command line, measure, and write the model card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/tiny-omni"))
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--wrong", type=int, default=0, help="print so many wrong answers a task")
    parser.add_argument("--no-card", action="store_true", help="leave the model's README alone")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asked = requests(arguments.clips, arguments.seed, Path(folder))
    told = answer(str(arguments.model), asked)
    table = score(asked, told)
    for name, row in table.items():
        shown = "  ".join(f"{key} {value:.3f}" for key, value in row.items())
        print(f"{name} ({len(asked[name])}): {shown}")
        pairs = zip(asked[name], told[name], strict=True)
        wrong = [(q.pair.answer, text) for q, text in pairs if not all(q.mark(text).values())]
        for expected, text in wrong[: arguments.wrong]:
            print(f"    expected {expected}\n    told     {text}")
    if not arguments.no_card:
        from tinyworld.card import write_card

        numbers = {name: len(group) for name, group in asked.items()}
        write_card(arguments.model, table, numbers, clips=arguments.clips, seed=arguments.seed)


if __name__ == "__main__":
    main()
