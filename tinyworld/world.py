"""The truth of a clip, the sentences that tell it, and the reader that grades such sentences.

A `Scene` names everything a clip shows and plays. All vocabularies are closed, so a caption can be
parsed back into attributes and compared with the scene: no judge is needed.
"""

from __future__ import annotations

import random
import re
import zlib
from dataclasses import dataclass, replace
from typing import Literal

Split = Literal["train", "validation", "heldout"]

COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "white")
SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond")
SIZES = ("small", "large")
MOTIONS = ("left", "right", "up", "down", "still")
BACKGROUNDS = ("black", "white", "red", "green", "blue", "yellow")
SOUNDS = ("low tone", "high tone", "beeps", "noise", "silence")
# Few and unlike one another: at the model's resolution a character is about twenty pixels tall.
CHARACTERS = ("A", "C", "E", "H", "K", "T", "X", "2", "3", "4", "7")
NO_TEXT = "none"
TEXTS = (NO_TEXT, *CHARACTERS)
POSITIONS = ("top", "center", "bottom", "left", "right")
CAMERAS = ("static", "pan left", "pan right", "zoom in", "zoom out")
LIGHTINGS = ("bright", "dim")
ANGLES = ("eye_level", "high_angle", "low_angle")

OMNI_ATTRIBUTES = ("size", "colour", "shape", "motion", "background", "text", "sound")
VISUAL_ATTRIBUTES = ("size", "colour", "shape", "motion", "background", "text")
FRAME_ATTRIBUTES = ("size", "colour", "shape", "background", "text")

_SPLIT_SHARES = 20  # of twenty buckets of attribute combinations, one each is kept out of training


@dataclass(frozen=True, slots=True)
class Scene:
    """What one clip shows and plays. `seed` drives jitter that no caption mentions."""

    colour: str
    shape: str
    size: str
    motion: str
    background: str
    sound: str
    text: str
    position: str
    camera: str = "static"
    lighting: str = "bright"
    angle: str = "eye_level"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.colour == self.background:
            raise ValueError(f"a {self.colour} shape cannot be seen on {self.background}")
        if self.position not in positions_for(self.motion):
            raise ValueError(f"position {self.position!r} does not fit motion {self.motion!r}")

    @property
    def shot_type(self) -> str:
        """A large shape counts as close, a small one as far away."""
        return "close_up" if self.size == "large" else "long_shot"

    @property
    def shot_position(self) -> str:
        """Something that crosses the picture is seen from its side."""
        return "side_view" if self.motion in ("left", "right") else "front_view"


def positions_for(motion: str) -> tuple[str, ...]:
    """The lanes that a motion can have: rows for horizontal, columns for vertical movers."""
    if motion in ("left", "right"):
        return ("top", "center", "bottom")
    if motion in ("up", "down"):
        return ("left", "center", "right")
    return POSITIONS


def split_of(scene: Scene) -> Split:
    """The split that a scene belongs to, from the attributes an omni caption names.

    Splitting by attribute combination (not by random seed) means that a held-out clip shows a
    combination that training has never shown, whatever seeds were used.
    """
    key = "|".join(str(getattr(scene, name)) for name in OMNI_ATTRIBUTES)
    bucket = zlib.crc32(key.encode()) % _SPLIT_SHARES
    if bucket == 0:
        return "heldout"
    return "validation" if bucket == 1 else "train"


def random_scene(rng: random.Random, split: Split = "train") -> Scene:
    """One scene of `split`; each attribute is near uniform, camera and light mostly plain."""
    while True:
        motion = rng.choice(MOTIONS)
        background = rng.choice(BACKGROUNDS)
        scene = Scene(
            colour=rng.choice([colour for colour in COLOURS if colour != background]),
            shape=rng.choice(SHAPES),
            size=rng.choice(SIZES),
            motion=motion,
            background=background,
            sound=rng.choice(SOUNDS),
            text=NO_TEXT if rng.random() < 0.2 else rng.choice(CHARACTERS),
            position=rng.choice(positions_for(motion)),
            camera="static" if rng.random() < 0.5 else rng.choice(CAMERAS[1:]),
            lighting="bright" if rng.random() < 0.65 else "dim",
            angle="eye_level" if rng.random() < 0.5 else rng.choice(ANGLES[1:]),
            seed=rng.getrandbits(31),
        )
        if split_of(scene) == split:
            return scene


def sample_scenes(n: int, seed: int, split: Split = "heldout") -> list[Scene]:
    """`n` scenes of a split, the same ones for the same `seed`.

    >>> sample_scenes(1, 7) == sample_scenes(1, 7)
    True
    """
    rng = random.Random(seed)
    return [random_scene(rng, split) for _ in range(n)]


def reversed_in_time(scene: Scene) -> Scene:
    """The scene that the same clip shows when it is played backwards."""
    turned = {"left": "right", "right": "left", "up": "down", "down": "up", "still": "still"}
    camera = {
        "pan left": "pan right",
        "pan right": "pan left",
        "zoom in": "zoom out",
        "zoom out": "zoom in",
    }.get(scene.camera, "static")
    return replace(scene, motion=turned[scene.motion], camera=camera)


# --- sentences -----------------------------------------------------------------------------------


def subject(scene: Scene) -> str:
    """`'a large red circle'`."""
    return f"a {scene.size} {scene.colour} {scene.shape}"


def action(scene: Scene) -> str:
    """`'moves left'` or `'stays still'`."""
    return "stays still" if scene.motion == "still" else f"moves {scene.motion}"


def text_sentence(scene: Scene) -> str:
    """`'The letter K is shown.'`, `'The digit 3 is shown.'` or `'No text is shown.'`."""
    if scene.text == NO_TEXT:
        return "No text is shown."
    return f"The {character(scene)} is shown."


def character(scene: Scene) -> str:
    """`'letter K'` or `'digit 3'`."""
    return f"{'digit' if scene.text.isdigit() else 'letter'} {scene.text}"


def sound_sentence(sound: str) -> str:
    """`'A low tone plays.'`, `'Beeps play.'`, ... or `'There is no sound.'`."""
    return {
        "low tone": "A low tone plays.",
        "high tone": "A high tone plays.",
        "beeps": "Beeps play.",
        "noise": "Noise plays.",
        "silence": "There is no sound.",
    }[sound]


def caption(scene: Scene) -> str:
    """What is seen and heard.

    >>> caption(Scene("red", "circle", "large", "left", "blue", "low tone", "K", "top"))
    'A large red circle moves left on a blue background. The letter K is shown. A low tone plays.'
    """
    return f"{picture_caption(scene)} {sound_sentence(scene.sound)}"


def picture_caption(scene: Scene) -> str:
    """What is seen of a clip, over its whole time."""
    return f"{_capital(event(scene))}. {text_sentence(scene)}"


def change_caption(first: Scene, second: Scene, moved: str | None) -> str:
    """What has changed from one key frame to the next.

    >>> red = Scene("red", "circle", "large", "left", "blue", "low tone", "K", "top")
    >>> change_caption(red, red, "left")
    'The red circle has moved left.'
    >>> change_caption(red, Scene("cyan", "star", "small", "up", "red", "noise", "2", "left"), None)
    'A small cyan star is there now, on a red background.'
    """
    if second is not first:
        return f"{_capital(subject(second))} is there now, on a {second.background} background."
    return f"The {first.colour} {first.shape} has {f'moved {moved}' if moved else 'not moved'}."


def event(scene: Scene) -> str:
    """`'a large red circle moves left on a blue background'`."""
    return f"{subject(scene)} {action(scene)} on a {scene.background} background"


def sound_caption(sound: str) -> str:
    """The caption of a clip that has sound but no picture."""
    return f"There is no picture. {sound_sentence(sound)}"


def frame_caption(scene: Scene) -> str:
    """What one frame shows: no motion, no sound."""
    return f"{_capital(subject(scene))} on a {scene.background} background. {text_sentence(scene)}"


def clip_caption(scenes: list[Scene], context: str = "") -> str:
    """What a window of one or two scenes shows, after the caption of the window before it.

    >>> red = Scene("red", "circle", "large", "left", "blue", "silence", "K", "top")
    >>> clip_caption([red])
    'A large red circle moves left on a blue background with the letter K.'
    >>> blue = Scene("blue", "square", "small", "up", "white", "silence", "none", "left")
    >>> clip_caption([blue], context=clip_caption([red]))
    'After the red circle, a small blue square moves up on a white background.'
    """
    events = [
        event(scene) + ("" if scene.text == NO_TEXT else f" with the {character(scene)}")
        for scene in scenes
    ]
    told = ", then ".join(events)
    before = last_thing(context)
    return f"After the {before}, {told}." if before else f"{_capital(told)}."


def _capital(text: str) -> str:
    """First letter upper case, the rest as it is (`str.capitalize` would lower `K`)."""
    return text[:1].upper() + text[1:]


# --- reading -------------------------------------------------------------------------------------

_THING = re.compile(
    rf"\ban? ({'|'.join(SIZES)}) ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})"
    rf"(?: (?:moves ({'|'.join(MOTIONS[:-1])})|(stays still)))?"
    rf"(?: on an? ({'|'.join(BACKGROUNDS)}) background)?"
    rf"(?: with the (?:letter|digit) ([{''.join(CHARACTERS)}]))?",
    re.IGNORECASE,
)
_TEXT = re.compile(rf"\bthe (?:letter|digit) ([{''.join(CHARACTERS)}])\b", re.IGNORECASE)
_NO_TEXT = re.compile(r"\bno text\b", re.IGNORECASE)
_SOUNDS = tuple((sound, re.compile(rf"\b{sound}\b", re.IGNORECASE)) for sound in SOUNDS[:-1])
_NO_SOUND = re.compile(r"\bno sound\b", re.IGNORECASE)


def read_events(text: str) -> list[dict[str, str | None]]:
    """The visual attributes of all things that a caption tells of, in order; None where unsaid."""
    events: list[dict[str, str | None]] = []
    for found in _THING.finditer(text):
        size, colour, shape, motion, still, background, shown = found.groups()
        events.append(
            {
                "size": size.lower(),
                "colour": colour.lower(),
                "shape": shape.lower(),
                "motion": "still" if still else motion and motion.lower(),
                "background": background and background.lower(),
                "text": shown and shown.upper(),
            }
        )
    return events


def read_caption(text: str) -> dict[str, str | None]:
    """The seven omni attributes as `text` tells them, None where it does not.

    Of a caption that tells of several things, the first counts; `read_events` gives all of them.
    """
    events = read_events(text)
    read: dict[str, str | None] = dict.fromkeys(OMNI_ATTRIBUTES)
    if events:
        read.update(events[0])
    shown = _TEXT.search(text)
    if shown:
        read["text"] = shown.group(1).upper()
    elif _NO_TEXT.search(text):
        read["text"] = NO_TEXT
    heard = [sound for sound, pattern in _SOUNDS if pattern.search(text)]
    if len(heard) == 1:
        read["sound"] = heard[0]
    elif not heard and _NO_SOUND.search(text):
        read["sound"] = "silence"
    return read


def grade(
    text: str, scene: Scene, attributes: tuple[str, ...] = OMNI_ATTRIBUTES
) -> dict[str, bool]:
    """Which of `attributes` the caption `text` tells rightly."""
    read = read_caption(text)
    return {name: read[name] == getattr(scene, name) for name in attributes}


def last_thing(text: str) -> str | None:
    """`'red circle'`: the last thing that a caption tells of, or None."""
    events = read_events(text)
    return f"{events[-1]['colour']} {events[-1]['shape']}" if events else None
