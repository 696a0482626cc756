"""Rendered clips to train on, kept on disk: small frames and log-mel sound with their truth."""

from __future__ import annotations

import dataclasses
import io
import math
import multiprocessing
import pickle
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import WhisperFeatureExtractor
from transformers.models.qwen2_vl.video_processing_qwen2_vl import smart_resize

from tinyworld.model import LONGEST_SOUND, PIXELS
from tinyworld.render import LONGEST_CROSSING, Canvas, render_audio, write_video
from tinyworld.world import Scene, Split, random_scene

FRAMES = 8
FRAME_PIXELS = 12_544
RATE = 16_000
SIZES = ((224, 224), (224, 224), (320, 240), (240, 320), (320, 180), (256, 192))


@dataclass(slots=True)
class Sample:
    """One clip as the model sees it, and what it shows.

    Attributes:
        scenes: one scene, or two that follow one another.
        frames: uint8 (8, H, W, 3), sides divisible by 28.
        mel: float16 (128, L), 100 columns per second.
        fps: sampled frames per second.
        places: float32 (8, 3): the shape's centre and radius as shares of width, height, width.
        which: the scene that each frame shows, as an index into `scenes`.
    """

    scenes: list[Scene]
    frames: NDArray[np.uint8]
    mel: NDArray[np.float16]
    fps: float
    places: NDArray[np.float32]
    which: list[int]


def fit(picture: Image.Image) -> NDArray[np.uint8]:
    """Scale as the job does (to the pixel budget) and then as the processor does."""
    scale = math.sqrt(FRAME_PIXELS / (picture.width * picture.height))
    if scale < 1:
        size = (round(picture.width * scale), round(picture.height * scale))
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    height, width = smart_resize(
        picture.height, picture.width, 28, PIXELS["shortest_edge"], PIXELS["longest_edge"]
    )
    return np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC))


def extractor() -> WhisperFeatureExtractor:
    """The processor's own feature extractor."""
    return WhisperFeatureExtractor(feature_size=128, chunk_length=LONGEST_SOUND)


def log_mel(sound: WhisperFeatureExtractor, wave: NDArray[np.float32]) -> NDArray[np.float16]:
    """Log-mel columns of the wave, without padding."""
    found = sound(
        wave, sampling_rate=RATE, padding="max_length", return_attention_mask=True,
        return_tensors="np",
    )  # fmt: skip
    length = int(found["attention_mask"].sum())
    features: NDArray[np.float16] = found["input_features"][0, :, :length].astype(np.float16)
    return features


def make_sample(rng: random.Random, split: Split, sound: WhisperFeatureExtractor) -> Sample:
    """One clip with random scenes, size and length; some go through a real codec."""
    width, height = rng.choice(SIZES)
    video_fps = rng.choice((10.0, 12.0, 12.0, 15.0))
    pieces, start, seconds = _timeline(rng, split)
    coded = rng.random() < 0.12
    last = seconds - 1 / video_fps
    times = [min(round(t * video_fps), round(last * video_fps)) / video_fps
             for t in np.linspace(0, last, FRAMES)]  # fmt: skip
    if coded:
        pictures, wave = _through_codec(rng, pieces, video_fps, (width, height))
        chosen = [pictures[min(round((start + t) * video_fps), len(pictures) - 1)] for t in times]
    else:
        chosen = _draw(pieces, [start + t for t in times], (width, height))
        wave = np.concatenate([render_audio(scene, seconds=length) for scene, length in pieces])
        if rng.random() < 0.5:
            quality = rng.randint(45, 95)
            chosen = [_jpeg(picture, quality) for picture in chosen]
    begin = round(start * RATE)
    wave = wave[begin : begin + round(seconds * RATE) + rng.choice((0, 0, 0, 512, -512))]
    places, which = _places(pieces, [start + t for t in times], (width, height))
    return Sample(
        scenes=[scene for scene, _ in pieces],
        frames=np.stack([fit(picture) for picture in chosen]),
        mel=log_mel(sound, wave),
        fps=(FRAMES - 1) / last,
        places=places,
        which=which,
    )


def _timeline(rng: random.Random, split: Split) -> tuple[list[tuple[Scene, float]], float, float]:
    """Scenes with their lengths, and where the clip starts in them and how long it is."""
    kind = rng.random()
    seconds = rng.choice((2, 3, 3, 4, 4, 5, 6)) + rng.choice((0.0, 0.0, rng.uniform(-0.4, 0.4)))
    seconds = max(2.0, min(6.0, seconds))
    scene = random_scene(rng, split)
    if kind < 0.36:
        share = rng.uniform(0.3, 0.7)
        shown = seconds * share, seconds * (1 - share)
        # Often a window over a cut: the end of one movement and the beginning of another.
        hidden = [rng.uniform(0, 2) * length if kind > 0.12 else 0.0 for length in shown]
        pieces = [(scene, shown[0] + hidden[0]), (random_scene(rng, split), shown[1] + hidden[1])]
        return pieces, hidden[0], seconds
    if kind < 0.5:  # a window out of a longer scene: part of a movement, maybe its repetition
        whole = seconds * rng.uniform(1.0, 2.2)
        return [(scene, whole)], rng.uniform(0, whole - seconds), seconds
    return [(scene, seconds)], 0.0, seconds


def _located(pieces: Sequence[tuple[Scene, float]], time: float) -> tuple[int, float]:
    """The index of the scene shown at `time`, and the progress of its crossing."""
    index = 0
    while index + 1 < len(pieces) and time >= pieces[index][1]:
        time -= pieces[index][1]
        index += 1
    seconds = pieces[index][1]
    crossing = seconds / math.ceil(seconds / LONGEST_CROSSING)
    return index, (time % crossing) / crossing


def _draw(
    pieces: Sequence[tuple[Scene, float]], times: Sequence[float], size: tuple[int, int]
) -> list[Image.Image]:
    canvases = [Canvas(scene, width=size[0], height=size[1]) for scene, _ in pieces]
    located = [_located(pieces, time) for time in times]
    return [Image.fromarray(canvases[index].draw(progress)) for index, progress in located]


def _places(
    pieces: Sequence[tuple[Scene, float]], times: Sequence[float], size: tuple[int, int]
) -> tuple[NDArray[np.float32], list[int]]:
    """Where the shape is in each frame, and which scene it is."""
    canvases = [Canvas(scene, width=size[0], height=size[1]) for scene, _ in pieces]
    places, which = [], []
    for time in times:
        index, progress = _located(pieces, time)
        x, y = canvases[index].centre(progress)
        radius = canvases[index].radius * min(size)
        places.append((x / size[0], y / size[1], radius / size[0]))
        which.append(index)
    return np.array(places, np.float32), which


def _image(frame: av.VideoFrame) -> Image.Image:
    return Image.fromarray(frame.to_ndarray(format="rgb24"))


def _jpeg(picture: Image.Image, quality: int) -> Image.Image:
    """The picture after a lossy round trip."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def _through_codec(
    rng: random.Random, pieces: Sequence[tuple[Scene, float]], fps: float, size: tuple[int, int]
) -> tuple[list[Image.Image], NDArray[np.float32]]:
    """All frames and the sound after H.264 and AAC."""
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        write_video(
            file.name, pieces, fps=fps, width=size[0], height=size[1], crf=rng.randint(17, 30),
            audio=True,
        )  # fmt: skip
        with av.open(file.name) as container:
            pictures = [_image(frame) for frame in container.decode(video=0)]
        with av.open(file.name) as container:
            waves = [frame.to_ndarray().mean(0) for frame in container.decode(audio=0)]
    return pictures, np.concatenate(waves).astype(np.float32)


def _fill(folder: Path, seed: int, shards: Sequence[int], split: Split, size: int) -> None:
    """Write shards that are not there yet."""
    torch.set_num_threads(1)
    sound = extractor()
    for shard in shards:
        path = folder / f"{split}-{shard:04d}.pickle"
        if path.exists():
            continue
        rng = random.Random(f"{split}-{seed}-{shard}")
        samples = [dataclasses.astuple(make_sample(rng, split, sound)) for _ in range(size)]
        part = path.with_suffix(".part")
        part.write_bytes(pickle.dumps(samples, protocol=5))
        part.replace(path)


def fill_pool(folder: Path, *, shards: int, split: Split, seed: int = 1, size: int = 100) -> None:
    """Render what is missing of `shards` files of `size` clips, on two processes."""
    folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_fill, args=(folder, seed, range(k, shards, 2), split, size))
        for k in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        if worker.exitcode:
            raise RuntimeError(f"a rendering process ended with {worker.exitcode}")


def pool_files(folder: Path, split: Split) -> list[Path]:
    """The files of a split that are complete."""
    return sorted(folder.glob(f"{split}-*.pickle"))


def read_pool(paths: Sequence[Path]) -> list[Sample]:
    """All samples in the files."""
    samples = []
    for path in paths:
        for scenes, *rest in pickle.loads(path.read_bytes()):
            samples.append(Sample([Scene(*scene) for scene in scenes], *rest))
    return samples
