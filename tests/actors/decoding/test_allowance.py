"""Videos that do not fit the model: what is refused, adapted or left out, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.confinement.sandbox import DecodeSandbox
from actors.decoding import decoder
from actors.storage.access import open_range
from schemas.blocks import video_of
from schemas.budget import Budget, ModelLimits
from schemas.errors import MediaLimitError
from schemas.media import DecodedVideo, DecodeLimits, SamplingPlan, StorageOptions
from tests.support.media import Sound, numbers_of, render

PLAN = SamplingPlan(num_frames=4, audio_rate=16_000)
LIMITS = ModelLimits(
    context=400, positions=800, positions_per_sec=25.0, sound_tokens_per_sec=25.0,
    token_side=28, frames_per_token=2,
)  # fmt: skip
"""Holds some 14 s of sound, and 40 s of silent video."""


def load(path: Path, on_too_long: str, *, plan: SamplingPlan = PLAN) -> DecodedVideo:
    budget = Budget(limits=LIMITS, on_too_long=on_too_long)
    with open_range(str(path), StorageOptions()) as reader:
        return decoder.decode(reader, plan, DecodeLimits(), budget=budget)


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Twenty seconds with sound, indexed and not, a frame every half second."""
    folder = tmp_path_factory.mktemp("heard")
    return {
        extension: render(
            folder / f"clip.{extension}", count=40, rate=2, sounds=[Sound(seconds=20.0)]
        )
        for extension in ("mp4", "mkv")
    }


def untouched(*_: Any, **__: Any) -> Any:
    raise AssertionError("something was read")


@pytest.mark.parametrize("extension", ["mp4", "mkv"])
def test_a_video_is_refused_by_its_header_before_it_is_read(
    heard: dict[str, Path], monkeypatch: pytest.MonkeyPatch, extension: str
) -> None:
    for name in ("scan", "read_tables", "decode_pictures", "decode_sound", "SoundTrack"):
        monkeypatch.setattr(decoder, name, untouched)
    with pytest.raises(MediaLimitError, match=r"20\.\d s of sound .* 400 .*recipe\.on_too_long"):
        load(heard[extension], "fail")


def test_a_video_is_refused_by_what_is_there_where_its_header_says_less(
    heard: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.decoding.allowance.stream_length", lambda *_: 2.0)
    monkeypatch.setattr(decoder, "decode_pictures", untouched)
    for path in heard.values():
        with pytest.raises(MediaLimitError, match=r"packets span 20\.\d s, the header says 2\.0 s"):
            load(path, "fail")


def test_silence_is_not_spread_out_where_no_header_announces_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two packets of sound an hour apart, in a container without a length."""
    sound = Sound(seconds=3600.2, gap=(0.1, 3600.1))
    joined = render(tmp_path / "joined.mkv", codec=None, sounds=[sound])
    monkeypatch.setattr("actors.decoding.allowance.stream_length", lambda *_: 0.0)
    monkeypatch.setattr(decoder, "header_duration", lambda _: 0.0)
    with pytest.raises(MediaLimitError, match="of sound"):
        load(joined, "fail", plan=PLAN)


def test_sampling_keeps_the_length_and_leaves_out_the_sound(heard: dict[str, Path]) -> None:
    for path in heard.values():
        clip = load(path, "sample")
        assert numbers_of(clip.frames) == [0, 13, 26, 39]
        assert (clip.audio, clip.info.has_audio, clip.info.window_sec) == (None, True, None)
        assert clip.info.duration_sec == pytest.approx(20.0, abs=0.2)
        assert any("without the sound" in warning for warning in clip.warnings)


def test_windows_have_frames_and_sound_each(heard: dict[str, Path]) -> None:
    for path in heard.values():
        clip = load(path, "window")
        assert clip.info.window_sec == pytest.approx(10.0, abs=0.1)
        assert clip.audio is not None and len(clip.audio) / 16_000 > 19.8
        half = clip.timestamps < clip.info.window_sec - 1e-6
        assert (half.sum(), (~half).sum()) == (4, 4)
        assert any("in 2 parts" in warning for warning in clip.warnings)


def test_windows_pass_the_checks_of_the_parent(heard: dict[str, Path]) -> None:
    budget = Budget(limits=LIMITS, on_too_long="window")
    with DecodeSandbox(DecodeLimits(), StorageOptions(), budget) as sandbox:
        clip = video_of(sandbox.decode(str(heard["mp4"]), PLAN))
    assert (clip.num_frames, clip.info.window_sec) == (8, pytest.approx(10.0, abs=0.1))


@pytest.mark.parametrize("extension", ["mkv", "mov"])
def test_sound_that_no_model_hears_is_left_out_with_a_warning(
    tmp_path: Path, extension: str
) -> None:
    sound = Sound(seconds=0.02, rate=16_000, codec="pcm_s16le")
    path = render(tmp_path / f"clip.{extension}", count=25, sounds=[sound])
    with open_range(str(path), StorageOptions()) as reader:
        clip = decoder.decode(reader, PLAN, DecodeLimits())
    assert clip.num_frames == 4
    assert (clip.audio, clip.audio_rate, clip.info.has_audio) == (None, 0, True)
    assert any("too short for a model" in warning for warning in clip.warnings)
    assert np.isclose(clip.info.duration_sec, 1.0, atol=0.05)


def test_what_cannot_be_held_is_refused_before_it_is_read(
    heard: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "decode_pictures", untouched)
    monkeypatch.setattr("actors.decoding.allowance.stream_length", lambda *_: 5 * 3600.0)
    with (
        open_range(str(heard["mp4"]), StorageOptions()) as reader,
        pytest.raises(MediaLimitError, match="take 1098 MB, more than the 512 of decode"),
    ):
        decoder.decode(reader, PLAN, DecodeLimits(memory_mb=512))
