"""How a clip is shown to a model: by what vLLM says that the model takes, and few exceptions.

A model that takes videos is shown one, and any other that sees is shown the frames as images with
their times between them. A model that hears gets the sound: inside the video where the model was
trained on that, else beside it.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from schemas.media import Clip

ModelInput = dict[str, Any]
"""vLLM's ``TokensPrompt``: prompt_token_ids, multi_modal_data, mm_processor_kwargs."""

_OMNI_25 = frozenset({"Qwen2_5OmniModel", "Qwen2_5OmniForConditionalGeneration"})
_OMNI_3 = frozenset(
    {"Qwen3OmniMoeForConditionalGeneration", "Qwen3OmniMoeThinkerForConditionalGeneration"}
)
_ONE_RATE = frozenset({"Qwen2_5_VLForConditionalGeneration"})
"""Models that ask for a video's metadata and use nothing of it but the rate."""

_TEMPORAL_PATCH = 2
"""Frames that Qwen's vision towers merge into one temporal patch."""

_INTERLEAVED_SEC = 2.0
"""Seconds of sound that stand together between the patches of a video."""

_WHISPER_RATE = 16_000
"""Samples per second of the sound that Qwen2.5-Omni hears; vLLM resamples to it."""

_TICKS = 1000
"""Moments are told to the millisecond."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A clip as a user's message and vLLM's input hold it.

    Attributes:
        parts: of the message, in order: places for media, and texts beside them.
        kinds: of the media, each once.
    """

    parts: tuple[dict[str, Any], ...] = ()
    kinds: frozenset[str] = frozenset()
    input: ModelInput


NOTHING = Shown(input={})


class Adapter:
    """Shows clips to one model.

    Args:
        info: vLLM's ``BaseProcessingInfo`` of the model, None for a model of texts.
        architectures: of its configuration.

    Attributes:
        takes: kinds of media that the model takes: "video", "image", "audio".
    """

    def __init__(self, info: Any, architectures: Collection[str]) -> None:
        self.takes: frozenset[str] = frozenset(info.supported_mm_limits if info else ())
        self._interleaves = not _OMNI_25.union(_OMNI_3).isdisjoint(architectures)
        self._is_omni_25 = not _OMNI_25.isdisjoint(architectures)
        self._reads_times = (
            info is not None
            and info.data_parser.video_needs_metadata
            and _ONE_RATE.isdisjoint(architectures)
        )
        try:
            options = info.supported_mm_processor_kwargs if info else {}
        except AttributeError:
            # vLLM 0.32 has processors of its own that do not tell what they take (InternVL's, in
            # the vendor's format); none of them samples frames.
            options = {}
        # The checkpoint's own processor may sample frames again. What is said of that with a
        # video is not heard by every model, so it is said to the processor too.
        self._may_sample = "do_sample_frames" in options.get("videos_kwargs", ())

    @property
    def sees_images_only(self) -> bool:
        """Whether the frames of a video go to the model as images."""
        return "image" in self.takes and "video" not in self.takes

    @property
    def hears(self) -> bool:
        """Whether the model takes sound."""
        return "audio" in self.takes

    def show(self, clip: Clip) -> Shown:
        """The clip as the model takes it; sound is left out where the model does not hear.

        Raises:
            ValueError: there is nothing in it that the model takes.
        """
        parts: list[dict[str, Any]] = []
        data: dict[str, Any] = {}
        options: dict[str, Any] = {}
        if len(clip.frames) > 1 and not self.sees_images_only:
            parts.append(_place("video"))
            data["video"] = (clip.frames, self._metadata(clip))
            options |= {"do_sample_frames": False} if self._may_sample else {}
        elif len(clip.frames):
            data["image"] = _images(clip)
            parts.extend(_timed_images(clip) if len(clip.frames) > 1 else [_place("image")])
        if clip.audio is not None and self.hears:
            data["audio"] = (clip.audio, clip.audio_rate)
            if self._interleaves and "video" in data:
                options["use_audio_in_video"] = True
            else:
                parts.append(_place("audio"))
        untaken = len(clip.frames) and "image" not in self.takes
        if untaken or (clip.audio is not None and not parts):
            raise ValueError(f"the model takes {', '.join(sorted(self.takes)) or 'texts'} alone")
        if self._interleaves:
            options |= self._omni_options(clip)
        made = {"multi_modal_data": data, **({"mm_processor_kwargs": options} if options else {})}
        return Shown(parts=tuple(parts), kinds=frozenset(data), input=made)

    def _metadata(self, clip: Clip) -> dict[str, Any]:
        """What vLLM wants to know of frames that are already sampled.

        A model that reads the moments of frames gets them, as frames of a video of 1,000 a
        second; any other is told one rate, the average.
        """
        rate: float = clip.sampled_fps
        moments = list(range(clip.num_frames))
        total = clip.num_frames
        if self._reads_times:
            rate = float(_TICKS)
            moments = [round(moment * _TICKS) for moment in clip.timestamps.tolist()]
            total = max(math.ceil(clip.duration_sec * _TICKS), moments[-1] + 1)
        return {
            "fps": rate,
            "duration": clip.duration_sec,
            "total_num_frames": total,
            "frames_indices": moments,
            "video_backend": "rayjob",
            "do_sample_frames": False,
        }

    def _omni_options(self, clip: Clip) -> dict[str, Any]:
        """Qwen's Omni models: true seconds per frame.

        Qwen2.5-Omni's processor assumes 2 frames per second, and one second per temporal patch
        for the interleaving, unless both are given; wrong values shift sound against picture. It
        also computes spectra of the longest sound that the model takes, unless told a length.
        Qwen3-Omni's assumes 1 frame per second, and makes order and positions from that.
        """
        options: dict[str, Any] = {}
        has_video = len(clip.frames) > 1
        if not self._is_omni_25:
            return {"fps": clip.sampled_fps} if has_video else {}
        if clip.audio is not None:
            # A second more than there is: the end of the sound is not the end of what is computed.
            seconds = math.ceil(len(clip.audio) / clip.audio_rate) + 1
            options["audio_kwargs"] = {"max_length": seconds * _WHISPER_RATE}
        if has_video:
            # vLLM 0.32 makes positions from `fps`, and the order of tokens from
            # `second_per_grid_ts`. Where patches are farther apart than two seconds, its order has
            # all the sound up to the next patch, but its positions two seconds of it: told two
            # seconds at most, both agree.
            patch_sec = _to_bfloat16(_TEMPORAL_PATCH / clip.sampled_fps)
            options["fps"] = _TEMPORAL_PATCH / patch_sec
            options["second_per_grid_ts"] = [min(patch_sec, _INTERLEAVED_SEC)]
        return options


def _place(kind: str) -> dict[str, Any]:
    """A place for a medium: with an id and no address, vLLM renders a place for what it is handed
    elsewhere.
    """
    return {"type": f"{kind}_url", f"{kind}_url": None, "uuid": kind}


def _images(clip: Clip) -> list[Any]:
    """PIL images: some processors take no arrays."""
    from PIL import Image

    return [Image.fromarray(frame) for frame in clip.frames]


def _timed_images(clip: Clip) -> list[dict[str, Any]]:
    parts = []
    for moment in clip.timestamps.tolist():
        parts += [{"type": "text", "text": f"{moment:.1f} s: "}, _place("image")]
    return parts


def _to_bfloat16(value: float) -> float:
    """The nearest bfloat16: 8 significant bits.

    vLLM orders tokens by the number that it is given, and makes positions from what the model's
    type keeps of it. Only where these are equal is every token in its place.
    """
    mantissa, exponent = math.frexp(value)
    return math.ldexp(round(mantissa * 256), exponent - 8)
