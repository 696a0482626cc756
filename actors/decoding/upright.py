"""From a decoded frame to what a viewer sees: upright, square pixels, 8-bit RGB, scaled."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import numpy as np
import numpy.typing as npt
from av.filter import Graph
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from actors.decoding.sampling import fit_size
from actors.decoding.streams import Crop
from schemas.errors import UnsupportedCodecError

Image = npt.NDArray[np.uint8]
"""RGB, shape (H, W, 3)."""

_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED
_MATRICES = frozenset({1, 4, 5, 6, 7, 9})
"""BT.709, FCC, BT.601 (both), SMPTE 240M and BT.2020: those that swscale converts."""


@dataclass(frozen=True)
class Orientation:
    """How a decoded picture must be turned to stand upright.

    Attributes:
        degrees: clockwise rotation, after any mirroring.
        transpose: whether width and height change places.
        flip_x, flip_y: mirroring after that.
    """

    degrees: int = 0
    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    def apply(self, image: Image) -> Image:
        """Turn an image of shape (H, W, 3)."""
        if self.transpose:
            image = image.transpose(1, 0, 2)
        if self.flip_y:
            image = image[::-1]
        if self.flip_x:
            image = image[:, ::-1]
        return image


def read_orientation(frame: VideoFrame) -> Orientation:
    """Read the display matrix that containers and codecs attach to frames.

    The matrix maps a pixel (x, y) to (a x + c y, b x + d y). Angles that are not a multiple of
    90 degrees go to the nearest.
    """
    side_data = cast(SideDataContainer, frame.side_data)  # the stub knows one key only
    if Type.DISPLAYMATRIX not in side_data:
        return Orientation()
    matrix = np.frombuffer(bytes(side_data[Type.DISPLAYMATRIX]), dtype=np.int32)
    a, b, c, d = (float(matrix[at]) for at in (0, 1, 3, 4))
    mirrored = a * d - b * c < 0
    angle = math.degrees(math.atan2(-b, -a) if mirrored else math.atan2(b, a))
    degrees = round(angle / 90) * 90 % 360
    if abs(a) >= abs(b):
        return Orientation(degrees, False, a < 0, d < 0)
    return Orientation(degrees, True, c < 0, b < 0)


def _matrix(frame: VideoFrame, *, is_high: bool) -> int:
    """By which matrix a frame's colours are coded, in the numbers of ITU-T H.273.

    Args:
        is_high: whether the picture is of high definition, before edges are cut off.
    """
    tagged = int(frame.colorspace)
    if tagged in _MATRICES or frame.format.is_rgb or len(frame.format.components) < 3:
        return tagged
    if tagged == _UNSPECIFIED:
        # What players do: BT.709 came with high definition, which films do not fill.
        return int(Colorspace.ITU709 if is_high else Colorspace.ITU601)
    raise UnsupportedCodecError(
        f"no conversion for the picture's colours (matrix coefficients {tagged} of ITU-T H.273)"
    )


class FrameConverter:
    """Turn decoded frames of one stream into equally large RGB images.

    Args:
        max_pixels: largest width x height of an image.
        stretch_to: width and height of every image, whatever its shape was; overrides the budget.
        aspect: sample aspect ratio, the width of a pixel over its height.
        crop: pixels at the edges that are not shown.
        quick: weigh the nearest pixels alone, in a fifth of the time.
        warn: called with a sentence about what was worked around.

    Attributes:
        width, height: displayed size of the stream in square pixels, upright.
        rotation: degrees clockwise that are applied.
    """

    def __init__(
        self,
        *,
        max_pixels: int,
        aspect: Fraction | None,
        warn: Callable[[str], None],
        stretch_to: tuple[int, int] | None = None,
        crop: Crop | None = None,
        quick: bool = False,
    ) -> None:
        self.width = self.height = self.rotation = 0
        self._max_pixels = max_pixels
        self._stretch_to = stretch_to
        self._crop = crop
        self._aspect = float(aspect) if aspect is not None and 0.1 <= aspect <= 10 else 1.0
        self._warn = warn
        self._interpolation = Interpolation.FAST_BILINEAR if quick else Interpolation.BICUBIC
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None
        self._coded = (0, 0)
        self._orientation = Orientation()
        self._graphs: dict[str, tuple[tuple[int, int, str], Graph]] = {}

    def convert(self, frame: VideoFrame) -> Image:
        """Return the image of a frame, uint8 RGB of shape (H, W, 3).

        Raises:
            UnsupportedCodecError: its colours are coded in a way that FFmpeg does not convert.
        """
        high = frame.height > 576 or frame.width >= 1280
        if self._crop is not None:
            left, right, top, bottom = self._crop
            if left + right < frame.width and top + bottom < frame.height:
                shape = f"iw-{left + right}:ih-{top + bottom}:{left}:{top}"
                frame = self._filtered(frame, "crop", shape)
        if self._size is None:
            self._learn(frame)
            assert self._size is not None
        if (frame.width, frame.height) != self._coded:
            self._warn("the picture changes its size; all frames were scaled to the first's")
        width, height = self._size
        source = _matrix(frame, is_high=high)
        if frame.interlaced_frame:
            # Of the two moments in an interlaced frame's odd and even lines one is shown. Scaled
            # to the pixel budget, mostly below a field's own height, it needs no neighbouring
            # frames, unlike yadif or bwdif, and so works after a seek.
            frame = self._filtered(frame, "field", "top")
        scaled = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="rgb24",
            src_colorspace=source,
            dst_color_range=ColorRange.JPEG,
            interpolation=self._interpolation,
            threads=1,
        )
        return self._orientation.apply(scaled.to_ndarray().astype(np.uint8, copy=False))

    def _learn(self, frame: VideoFrame) -> None:
        self._coded = (frame.width, frame.height)
        self._orientation = read_orientation(frame)
        self.rotation = self._orientation.degrees
        shown_width = max(1, round(frame.width * self._aspect))
        self._size = fit_size(shown_width, frame.height, self._max_pixels)
        if self._stretch_to is not None:
            # Turned upright only afterwards.
            wide, high = self._stretch_to
            self._size = (high, wide) if self._orientation.transpose else (wide, high)
        self.width, self.height = shown_width, frame.height
        if self._orientation.transpose:
            self.width, self.height = self.height, self.width

    def _filtered(self, frame: VideoFrame, name: str, arguments: str) -> VideoFrame:
        """Return a frame after one of FFmpeg's filters."""
        shape = (frame.width, frame.height, frame.format.name)
        known, graph = self._graphs.get(name, (None, Graph()))
        if known != shape:
            graph = Graph()
            source = graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=frame.time_base or Fraction(1, av.time_base),
            )
            graph.link_nodes(source, graph.add(name, arguments), graph.add("buffersink"))
            graph.configure()
            self._graphs[name] = (shape, graph)
        graph.vpush(frame)
        return graph.vpull()
