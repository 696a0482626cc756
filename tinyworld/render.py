"""Pictures, sound and MP4 files of scenes. Everything is a function of the scene and its seed."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tinyworld.world import NO_TEXT, Scene

FloatArray = NDArray[np.float32]
ByteArray = NDArray[np.uint8]

SHAPE_RGB = {
    "red": (230, 30, 30),
    "orange": (255, 140, 0),
    "yellow": (255, 230, 20),
    "green": (30, 200, 60),
    "cyan": (20, 225, 235),
    "blue": (40, 70, 255),
    "purple": (160, 50, 215),
    "white": (250, 250, 250),
}
# Backgrounds are duller than shapes of the same name, so that neither is taken for the other.
BACKGROUND_RGB = {
    "black": (26, 26, 30),
    "white": (222, 222, 222),
    "red": (150, 48, 48),
    "green": (46, 118, 62),
    "blue": (48, 66, 150),
    "yellow": (200, 182, 84),
}
OUTLINE_RGB = (12, 12, 12)
RADIUS = {"small": 0.145, "large": 0.26}  # of the picture's shorter side
HORIZON = {"high_angle": 0.22, "eye_level": 0.55, "low_angle": 0.85}  # of the height, from the top
LANE = {"top": 0.27, "left": 0.27, "center": 0.5, "bottom": 0.73, "right": 0.73}
TRAVEL = (0.22, 0.78)  # where a movement starts and ends, of the width or height
LONGEST_CROSSING = 6.0  # seconds; a longer scene repeats its movement, so any window shows it
DOT_SPACING = 0.25  # of the shorter side
PAN_TRAVEL = 0.5  # of the shorter side, per crossing; well under one spacing per sampled frame
ZOOM = 1.6  # scale reached at the end of a crossing
AMPLITUDE = (0.15, 0.5)  # of full scale


def render_frames(
    scene: Scene, *, seconds: float, fps: float, width: int, height: int
) -> ByteArray:
    """All frames of a clip.

    Returns:
        uint8 (T, H, W, 3) RGB with T = max(1, round(seconds * fps)).
    """
    count = max(1, round(seconds * fps))
    times = [index / fps for index in range(count)]
    return frames_at(scene, times, seconds=seconds, width=width, height=height)


def frames_at(
    scene: Scene, times: Sequence[float], *, seconds: float, width: int, height: int
) -> ByteArray:
    """The frames of a clip of `seconds` at `times` (seconds from its start): uint8 (T, H, W, 3)."""
    canvas = Canvas(scene, width=width, height=height)
    crossing = seconds / math.ceil(seconds / LONGEST_CROSSING)
    return np.stack([canvas.draw((time % crossing) / crossing) for time in times])


class Canvas:
    """What stays the same over a clip, and `draw` for what does not."""

    def __init__(self, scene: Scene, *, width: int, height: int) -> None:
        rng = random.Random(scene.seed)
        self.scene = scene
        self.width, self.height = width, height
        self.unit = float(min(width, height))
        self.jitter = (rng.uniform(-0.02, 0.02), rng.uniform(-0.02, 0.02))
        self.radius = RADIUS[scene.size] * rng.uniform(0.93, 1.07)
        self.dot_phase = (rng.random(), rng.random())
        tint = [rng.uniform(-8, 8) for _ in range(6)]
        base = np.array(BACKGROUND_RGB[scene.background], np.float32) + tint[:3]
        self.colour = np.array(SHAPE_RGB[scene.colour], np.float32) + tint[3:]
        horizon = (HORIZON[scene.angle] + rng.uniform(-0.03, 0.03)) * height
        self.x = np.arange(width, dtype=np.float32) + 0.5
        self.y = np.arange(height, dtype=np.float32) + 0.5
        ground = np.clip(self.y - horizon, 0, 1) * 0.22
        if scene.background == "black":  # a darker black cannot be seen; a lighter ground can
            ground = -ground * 3
        self.base = np.broadcast_to(base * (1 - ground[:, None, None]), (height, width, 3)).astype(
            np.float32
        )
        self.dot_step = 48.0 if base.mean() < 128 else -48.0
        self.light = self._light()
        self.plate = None if scene.text == NO_TEXT else _plate(scene.text, round(self.unit * 0.25))

    def _light(self) -> FloatArray | None:
        """Dim light: darker as a whole and falling off towards the corners. (H, W, 1) or None."""
        if self.scene.lighting == "bright":
            return None
        far_x = (self.x / self.width - 0.5) * 2
        far_y = (self.y / self.height - 0.5) * 2
        fall = np.clip((far_y**2)[:, None] + (far_x**2)[None, :], 0, 2) / 2
        light: FloatArray = (0.68 * (1 - 0.55 * fall))[..., None].astype(np.float32)
        return light

    def draw(self, progress: float) -> ByteArray:
        """One frame, uint8 (H, W, 3); `progress` of the crossing, 0 to 1."""
        picture = self.base + self._dots(progress)[..., None] * self.dot_step
        self._draw_shape(picture, progress)
        if self.light is not None:
            picture *= self.light
        if self.plate is not None:  # a caption lies over the picture: no light or camera changes it
            side = self.plate.shape[0]
            margin = round(self.unit * 0.03)
            picture[-side - margin : self.height - margin, -side - margin : self.width - margin] = (
                self.plate[..., None]
            )
        return np.clip(picture + 0.5, 0, 255).astype(np.uint8)

    def _dots(self, progress: float) -> FloatArray:
        """Coverage of the background's dot grid, float32 (H, W), as the camera has moved it."""
        spacing = DOT_SPACING * self.unit
        # A camera that pans left sees the background go right.
        shift = {"pan left": 1.0, "pan right": -1.0}.get(self.scene.camera, 0.0)
        shift *= PAN_TRAVEL * self.unit * progress
        zoom = {"zoom in": ZOOM**progress, "zoom out": ZOOM ** (1 - progress)}.get(
            self.scene.camera, 1.0
        )
        u = ((self.x - self.width / 2 - shift) / zoom) / spacing + self.dot_phase[0]
        v = ((self.y - self.height / 2) / zoom) / spacing + self.dot_phase[1]
        du = (u - np.floor(u) - 0.5) * spacing * zoom
        dv = (v - np.floor(v) - 0.5) * spacing * zoom
        distance = np.sqrt((dv**2)[:, None] + (du**2)[None, :])
        coverage: FloatArray = np.clip(0.036 * self.unit * zoom - distance + 0.5, 0, 1)
        return coverage

    def centre(self, progress: float) -> tuple[float, float]:
        """Centre of the shape in pixels, (x, y)."""
        start, end = TRAVEL
        along = start + (end - start) * progress
        lane = LANE[self.scene.position]
        x, y = {
            "right": (along, lane),
            "left": (1 - along, lane),
            "down": (lane, along),
            "up": (lane, 1 - along),
            "still": (
                lane if self.scene.position in ("left", "right") else 0.5,
                lane if self.scene.position in ("top", "bottom") else 0.5,
            ),
        }[self.scene.motion]
        return (x + self.jitter[0]) * self.width, (y + self.jitter[1]) * self.height

    def _draw_shape(self, picture: FloatArray, progress: float) -> None:
        """Paint the shape and its outline into `picture`, only where its box lies."""
        centre_x, centre_y = self.centre(progress)
        radius = self.radius * self.unit
        reach = radius * 1.25 + 2
        left, right = max(0, int(centre_x - reach)), min(self.width, int(centre_x + reach) + 1)
        top, bottom = max(0, int(centre_y - reach)), min(self.height, int(centre_y + reach) + 1)
        x = self.x[None, left:right] - centre_x
        y = self.y[top:bottom, None] - centre_y
        distance = _distance(self.scene.shape, x, y, radius)
        outline = max(1.0, 0.014 * self.unit)
        box = picture[top:bottom, left:right]
        for colour, grow in ((np.array(OUTLINE_RGB, np.float32), outline), (self.colour, 0.0)):
            cover = np.clip(0.5 + grow - distance, 0, 1)[..., None]
            box += cover * (colour - box)


def _distance(shape: str, x: FloatArray, y: FloatArray, radius: float) -> FloatArray:
    """Signed distance in pixels to the edge of a shape at the origin, negative inside.

    The areas are made about equal, so that size says nothing about shape.
    """
    found = _edge(shape, x, y, radius)
    return np.asarray(found, np.float32)


def _edge(shape: str, x: FloatArray, y: FloatArray, radius: float) -> Any:
    """`_distance` in whatever precision numpy arrives at."""
    if shape == "circle":
        return np.sqrt(x * x + y * y) - radius * 0.95
    if shape == "square":
        return np.maximum(np.abs(x), np.abs(y)) - radius * 0.85
    if shape == "diamond":
        # Narrower than tall: a square on its corner would differ from a square by rotation only.
        return (np.abs(x) * 1.45 + np.abs(y) - radius * 1.2) / math.hypot(1.45, 1.0)
    if shape == "triangle":
        slope = np.abs(x) * 0.866 - (y - radius * 0.25) * 0.5 - radius * 0.79
        return np.maximum(slope, y - radius * 0.8)
    if shape == "cross":
        wide, thin = radius * 1.02, radius * 0.36
        bar = np.maximum(np.abs(x) - wide, np.abs(y) - thin)
        post = np.maximum(np.abs(x) - thin, np.abs(y) - wide)
        return np.minimum(bar, post)
    if shape == "star":
        # Fold the plane onto one of ten sectors; the edge there is one straight line.
        angle = np.arctan2(x, -y) % (2 * math.pi / 5)
        angle = np.minimum(angle, 2 * math.pi / 5 - angle)
        length = np.sqrt(x * x + y * y)
        px, py = length * np.sin(angle), length * np.cos(angle)
        tip, notch = radius * 1.22, radius * 0.5
        nx, ny = notch * math.sin(math.pi / 5), notch * math.cos(math.pi / 5)
        normal = math.hypot(nx, tip - ny)
        return (px * (tip - ny) + (py - tip) * nx) / normal
    raise ValueError(f"unknown shape {shape!r}")


@lru_cache(maxsize=256)
def _plate(text: str, side: int) -> FloatArray:
    """A white character on a black square, float32 (side, side)."""
    image = Image.new("L", (side * 4, side * 4), 8)
    font = ImageFont.load_default(side * 4)
    ImageDraw.Draw(image).text(
        (side * 2, side * 2), text, fill=250, font=font, anchor="mm", stroke_width=side // 6,
        stroke_fill=250,
    )  # fmt: skip
    return np.asarray(image.resize((side, side), Image.Resampling.BOX), np.float32)


def render_audio(scene: Scene, *, seconds: float, rate: int = 16000) -> FloatArray:
    """The sound of a clip: float32 (round(seconds * rate),) in -1 to 1; silence is zeros."""
    rng = random.Random(scene.seed ^ 0x5EED)
    count = round(seconds * rate)
    time = np.arange(count, dtype=np.float64) / rate
    amplitude = rng.uniform(*AMPLITUDE)
    if scene.sound == "silence":
        wave = np.zeros(count)
    elif scene.sound == "noise":
        wave = np.random.default_rng(scene.seed).uniform(-1, 1, count)
    elif scene.sound == "beeps":
        period = rng.uniform(0.36, 0.5)
        on = ((time + rng.uniform(0, period)) % period) < 0.4 * period
        wave = np.sin(2 * math.pi * rng.uniform(700, 1000) * time) * on
    else:
        low, high = (150, 260) if scene.sound == "low tone" else (1400, 2400)
        wave = np.sin(2 * math.pi * rng.uniform(low, high) * time)
    return (wave * amplitude).astype(np.float32)


def write_video(
    path: str | Path,
    scenes: Sequence[tuple[Scene, float]],
    *,
    fps: float = 12,
    width: int = 224,
    height: int = 224,
    video_codec: str = "libx264",
    audio_codec: str = "aac",
    rate: int = 16000,
    crf: int = 20,
    gop: int = 12,
    audio: bool = True,
    drop_silent_track: float = 0.0,
) -> None:
    """Encode scenes, one after the other, as an MP4 file.

    Args:
        scenes: `(scene, seconds)` in the order in which they are shown.
        crf: constant rate factor; applied where the codec has one, ignored where it has not.
        gop: frames from one key frame to the next.
        audio: False leaves the sound track out, whatever the scenes play.
        drop_silent_track: probability (seeded by the first scene) that a clip in which nothing
            plays gets no sound track at all, instead of one that holds digital silence.
    """
    silent = all(scene.sound == "silence" for scene, _ in scenes)
    if silent and random.Random(scenes[0][0].seed).random() < drop_silent_track:
        audio = False
    with av.open(str(path), "w", format="mp4") as container:
        x26 = video_codec.startswith("libx26")
        options = {"crf": str(crf), "preset": "veryfast"} if x26 else {}
        video = container.add_stream(
            video_codec, rate=Fraction(fps).limit_denominator(1001), options=options
        )
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.gop_size = gop
        sound = container.add_stream(audio_codec, rate=rate, layout="mono") if audio else None
        for picture in _pictures(scenes, fps=fps, width=width, height=height):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        if sound is not None:
            assert isinstance(sound, av.AudioStream)
            wave = np.concatenate([render_audio(s, seconds=t, rate=rate) for s, t in scenes])
            frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
            frame.sample_rate = rate
            frame.pts = 0
            container.mux(sound.encode(frame))
            container.mux(sound.encode(None))


def _pictures(
    scenes: Sequence[tuple[Scene, float]], *, fps: float, width: int, height: int
) -> Iterator[ByteArray]:
    """Frames one by one, so that an hour of video needs the memory of one frame."""
    for scene, seconds in scenes:
        canvas = Canvas(scene, width=width, height=height)
        crossing = seconds / math.ceil(seconds / LONGEST_CROSSING)
        for index in range(max(1, round(seconds * fps))):
            yield canvas.draw((index / fps % crossing) / crossing)
