"""Colours are true by whatever matrix and range they are coded."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.video.stream import VideoStream

from schemas.errors import UnsupportedCodecError
from tests.actors.decoding.test_decoder import load
from tests.actors.decoding.test_decoder_pictures import assert_colours, corners

UNTAGGED = 2

MATRICES = {
    1: (0.2126, 0.0722), 2: (0.299, 0.114), 4: (0.30, 0.11), 5: (0.299, 0.114),
    6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593),
}  # fmt: skip
"""Number in ITU-T H.273 -> weights of red and blue in the luminance."""


def planes(red: float, blue: float, *, full: bool) -> npt.NDArray[np.uint8]:
    """The coloured corners as Y, Cb and Cr, shape (3, H, W)."""
    r, g, b = np.moveaxis(corners() / 255, -1, 0)
    luma = red * r + (1 - red - blue) * g + blue * b
    chroma = (b - luma) / (2 * (1 - blue)), (r - luma) / (2 * (1 - red))
    low, range_, swing = (0, 255, 255) if full else (16, 219, 224)
    coded = [low + range_ * luma, *(128 + swing * each for each in chroma)]
    return np.stack(coded).round().clip(0, 255).astype(np.uint8)


def clip(
    path: Path, coded: npt.NDArray[np.uint8], *, matrix: int, full: bool | None, codec: str
) -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = coded.shape[2], coded.shape[1], "yuv444p"
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = 0 if full is None else 1 + full
        stream.options = {"qp": "2"} if codec == "libx264" else {}
        frame = av.VideoFrame.from_ndarray(coded, format="yuv444p")
        frame.pts = 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("codec", ["libx264", "ffv1"])  # tags of the codec, of the container
@pytest.mark.parametrize("full", [True, False, None], ids=["full", "limited", "untagged"])
@pytest.mark.parametrize("matrix", MATRICES)
def test_colours_are_true(tmp_path: Path, matrix: int, full: bool | None, codec: str) -> None:
    red, blue = MATRICES[matrix]
    coded = planes(red, blue, full=bool(full))
    assert_colours(
        load(clip(tmp_path / "a.mkv", coded, matrix=matrix, full=full, codec=codec), num_frames=1)
    )


@pytest.mark.parametrize("matrix", [8, 10, 14])
def test_colours_that_cannot_be_converted_are_refused(tmp_path: Path, matrix: int) -> None:
    coded = planes(0.3, 0.1, full=False)
    path = clip(tmp_path / "a.mkv", coded, matrix=matrix, full=False, codec="libx264")
    with pytest.raises(UnsupportedCodecError, match=f"matrix coefficients {matrix} of"):
        load(path, num_frames=1)


def test_red_green_and_blue_where_luminance_would_be(tmp_path: Path) -> None:
    coded = np.ascontiguousarray(np.moveaxis(corners(), -1, 0)[[1, 2, 0]])
    assert_colours(
        load(clip(tmp_path / "a.mkv", coded, matrix=0, full=True, codec="libx264"), num_frames=1)
    )
    path = clip(tmp_path / "b.mkv", coded, matrix=0, full=True, codec="ffv1")
    with pytest.raises(UnsupportedCodecError, match="matrix coefficients 0 of"):
        load(path, num_frames=1)
