"""What a fusing recipe works on: the captions that a video got earlier."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import TypeAdapter

from schemas.errors import UnusableMaterialError
from schemas.media import VideoInfo
from schemas.recipe import Video

FACTS = ("duration_sec", "fps", "width", "height", "has_audio")
"""What captions know of :class:`schemas.media.VideoInfo`."""


@dataclass(frozen=True, kw_only=True)
class SourceRow:
    """A caption that is to be fused; see :class:`schemas.tables.CaptionRow`."""

    level: str
    index: int
    start_sec: float | None
    end_sec: float | None
    caption: str
    structured: str | None
    caption_status: str


@dataclass(frozen=True, kw_only=True)
class Material:
    """The captions of one video.

    Attributes:
        info: facts about the video's file, None where they are not known.
    """

    rows: tuple[SourceRow, ...]
    info: VideoInfo | None

    @classmethod
    def read(cls, video: Video) -> Material:
        """The material that an input carries."""
        assert video.material is not None
        return TypeAdapter(cls).validate_json(video.material)

    def to_json(self) -> str:
        """As an input carries it."""
        return TypeAdapter(Material).dump_json(self).decode()

    def video_caption(self) -> SourceRow:
        """The caption of the whole video.

        Raises:
            UnusableMaterialError: there is no such caption.
        """
        for row in self.rows:
            if row.level == "video":
                return row
        raise UnusableMaterialError("there is no caption of the whole video")
