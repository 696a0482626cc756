"""What the tiny model is asked and what it should answer: one maker of pairs per task."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from tinyworld.world import (
    Scene,
    action,
    caption,
    change_caption,
    clip_caption,
    frame_caption,
    picture_caption,
    random_scene,
    sound_caption,
    sound_sentence,
    subject,
)

PROMPTS = Path(__file__).parent / "prompts"
DIRECTIONS = ("left", "right", "up", "down", None)


@dataclass(frozen=True, slots=True)
class Pair:
    """One user turn (without its media) and the answer to it."""

    task: str
    prompt: str
    answer: str


@cache
def prompt(task: str) -> str:
    """The prompt of a task as its file has it, without surrounding space."""
    return (PROMPTS / f"{task}.txt").read_text(encoding="utf-8").strip()


def structured_answer(scene: Scene) -> dict[str, Any]:
    """The scene in the structured recipe's schema, keys in the order of its publication."""
    kind = {"type": "Object", "sub_type": scene.shape}
    thing = {
        "TYPES": kind,
        "appearance": subject(scene),
        "action": action(scene),
        "expression": "",
        "position": scene.position,
        "is_main_subject": True,
    }
    return {
        "subjects": [thing],
        "shot_type": scene.shot_type,
        "shot_angle": scene.angle,
        "shot_position": scene.shot_position,
        "camera_motion": scene.camera,
        "environment": f"a {scene.background} background",
        "lighting": scene.lighting,
    }


def omni(scene: Scene) -> Pair:
    """Picture and sound; a clip whose sound is silence may as well have no track."""
    return Pair("omni", prompt("omni"), caption(scene))


def without_sound(scene: Scene) -> Scene:
    """The scene of a clip whose sound track is missing."""
    return replace(scene, sound="silence")


def sound_only(scene: Scene) -> Pair:
    """A clip without pictures."""
    return Pair("omni", prompt("omni"), sound_caption(scene.sound))


def heard(scene: Scene) -> Pair:
    """The sound alone, asked for as such."""
    return Pair("heard", prompt("heard"), sound_sentence(scene.sound))


def seen(scene: Scene) -> Pair:
    """The picture alone: what happens, and the text, and no word of sound."""
    return Pair("seen", prompt("seen"), picture_caption(scene))


def change(first: Scene, second: Scene, moved: str | None, before: str) -> Pair:
    """Two key frames and the caption before.

    Args:
        first, second: the scenes that they show; one and the same, or two.
        moved: where to the thing has moved from one to the other, None where it stands.
        before: what was said until the first.
    """
    asked = prompt("change").replace("{context}", before)
    return Pair("differential", asked.strip(), change_caption(first, second, moved))


def structured(scene: Scene) -> Pair:
    """The clip in fields."""
    return Pair("structured", prompt("structured"), json.dumps(structured_answer(scene)))


def frame(scene: Scene) -> Pair:
    """One picture."""
    return Pair("frame", prompt("frame"), frame_caption(scene))


def clip(scenes: Sequence[Scene], before: str = "") -> Pair:
    """A window of one or two scenes, with the caption of the window before it."""
    asked = prompt("clip").replace("{context}", before)
    return Pair("clip", asked.strip(), clip_caption(list(scenes), context=before))


def fusion_input(scene: Scene, rng: random.Random) -> dict[str, Any]:
    """The fields as a fusion prompt may carry them: whole, or cleaned and thinned."""
    fields = structured_answer(scene)
    if rng.random() < 0.3:
        return fields
    thing = fields["subjects"][0]
    cleaned = {"name": scene.shape} | {
        key: value
        for key, value in thing.items()
        if key not in ("TYPES", "is_main_subject") and (key != "appearance" or rng.random() < 0.8)
    }
    for key in ("position", "expression"):
        if rng.random() < 0.2:
            del cleaned[key]
    kept = {key: value for key, value in fields.items() if key != "subjects"}
    for key in ("camera_motion", "lighting", "shot_type", "shot_angle", "shot_position"):
        if rng.random() < 0.3:
            del kept[key]
    count = {"num_subjects": 1} if rng.random() < 0.5 else {}
    order = {**count, "subjects": [cleaned], **kept}
    return order if rng.random() < 0.7 else {**kept, **count, "subjects": [cleaned]}


def motion_input(scene: Scene, rng: random.Random) -> dict[str, Any]:
    """The fields for the motion's text: often no more than a name and an action."""
    if rng.random() < 0.4:
        return fusion_input(scene, rng)
    thing = {"name": scene.shape, "action": action(scene)}
    if rng.random() < 0.5:
        thing["expression"] = ""
    return {**({"num_subjects": 1} if rng.random() < 0.5 else {}), "subjects": [thing]}


def t2v(fields: dict[str, Any]) -> Pair:
    """One text that a video could be generated from; what the fields lack, it leaves out."""
    thing = fields["subjects"][0]
    name = thing.get("name") or thing["TYPES"]["sub_type"]
    told = thing.get("appearance") or f"a {name}"
    told = f"{told[:1].upper()}{told[1:]} {thing['action']} on {fields['environment']}"
    if "position" in thing:
        told += f", at the {thing['position']}"
    light = f" The light is {fields['lighting']}." if "lighting" in fields else ""
    asked = prompt("t2v").replace("{input}", json.dumps(fields))
    return Pair("t2v", asked, f"{told}.{light}")


def i2v(fields: dict[str, Any]) -> Pair:
    """What moves, for one who already has the first picture."""
    thing = fields["subjects"][0]
    name = thing.get("name") or thing["TYPES"]["sub_type"]
    asked = prompt("i2v").replace("{input}", json.dumps(fields))
    return Pair("i2v", asked, f"The {name} {thing['action']}.")


def long(windows: Sequence[tuple[str, str]], lines: Sequence[tuple[str, str]] = ()) -> Pair:
    """One running text out of `(time, clip caption)` lines; `lines` may hold frames as well."""
    asked = "\n".join(f"{time} {told}" for time, told in lines or windows)
    return Pair("long", prompt("long").replace("{input}", asked), long_text(windows))


def merge(parts: Sequence[Sequence[tuple[str, str]]]) -> Pair:
    """One running text out of running texts, one for each part of a video."""
    asked = "\n".join(
        f"{windows[0][0].split('-')[0]}-{windows[-1][0].split('-')[1]} {long_text(windows)}"
        for windows in parts
    )
    told = long_text([window for windows in parts for window in windows])
    return Pair("long", prompt("long").replace("{input}", asked), told)


def long_text(windows: Sequence[tuple[str, str]]) -> str:
    """`'First a large red circle moves left ... Then ...'`."""
    sentences = []
    for index, (_, told) in enumerate(windows):
        # What a window's caption says of the window before it is said already.
        told = told.split(", ", 1)[1] if told.startswith("After the ") else told
        told = told[:1].lower() + told[1:]
        sentences.append(f"{'First' if index == 0 else 'Then'} {told}")
    return " ".join(sentences)


def random_context(rng: random.Random) -> str:
    """The caption of some window before this one, empty for the first window of a video."""
    if rng.random() < 0.3:
        return ""
    told = [random_scene(rng) for _ in range(rng.choice((1, 1, 2)))]
    return clip_caption(told, context=random_context(rng) if rng.random() < 0.4 else "")


def context_for(scenes: Sequence[Scene], rng: random.Random) -> str:
    """The caption of the window before: where windows overlap, it often tells of the same thing."""
    if rng.random() < 0.6:
        return random_context(rng)
    earlier = [random_scene(rng)] if rng.random() < 0.3 else []
    return clip_caption([*earlier, scenes[0]], context=random_context(rng))


def told_before(scene: Scene, rng: random.Random) -> str:
    """What may have been said until a key frame that shows the scene."""
    kind = rng.random()
    if kind < 0.5:
        return frame_caption(scene)
    if kind < 0.65:
        return change_caption(random_scene(rng), scene, None)
    return change_caption(scene, scene, rng.choice(DIRECTIONS)) if kind < 0.9 else ""


def random_windows(rng: random.Random) -> list[tuple[str, str]]:
    """Captions of consecutive windows with their times, as the long recipe lists them."""
    seconds = rng.choice((2, 4, 5, 8, 10, 15, 30))
    windows: list[tuple[str, str]] = []
    before = ""
    for index in range(rng.choice((1, 2, 2, 3, 3, 4, 5))):
        told = [random_scene(rng) for _ in range(rng.choice((1, 1, 2)))]
        before = clip_caption(told, context=before)
        windows.append((span(index * seconds, (index + 1) * seconds), before))
    return windows


def with_frames(windows: Sequence[tuple[str, str]], rng: random.Random) -> list[tuple[str, str]]:
    """Windows with what single frames show below them, which the text may leave out."""
    lines: list[tuple[str, str]] = []
    for time, told in windows:
        lines.append((time, told))
        for second in range(rng.choice((0, 1, 2, 4))):
            lines.append((f"[00:{second:02d}]", frame_caption(random_scene(rng))))
    return lines


def span(start: float, end: float) -> str:
    """`'[00:05-00:10]'`."""
    first, last = ("{:02d}:{:02d}".format(*divmod(round(time), 60)) for time in (start, end))
    return f"[{first}-{last}]"


def text_pair(rng: random.Random) -> Pair:
    """A pair that needs no media."""
    kind = rng.random()
    if kind < 0.2:
        return t2v(fusion_input(random_scene(rng), rng))
    if kind < 0.3:
        return i2v(motion_input(random_scene(rng), rng))
    if kind < 0.6:
        return long(random_windows(rng))
    if kind < 0.8:
        windows = random_windows(rng)[:4]
        return long(windows, with_frames(windows, rng))
    return merge([random_windows(rng)[:2] for _ in range(rng.choice((1, 2, 2, 3)))])


def corpus(lines: int, seed: int) -> list[str]:
    """Prompts and answers of every task, to train the tokenizer on."""
    rng = random.Random(seed)
    makers: list[Callable[[Scene], Pair]] = [omni, sound_only, structured, frame]
    texts: list[str] = []
    while len(texts) < lines:
        scene = random_scene(rng)
        pairs = [make(scene) for make in makers]
        pairs += [clip([scene], random_context(rng)), long(random_windows(rng))]
        pairs += [t2v(fusion_input(scene, rng)), i2v(motion_input(scene, rng))]
        for pair in pairs:
            texts += [pair.prompt, pair.answer]
    return texts
