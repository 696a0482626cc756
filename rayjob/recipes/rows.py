"""From an outcome to a row of ``captions``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rayjob.recipes.asking import Outcome
from rayjob.recipes.settings import RecipeSettings
from schemas.media import VideoInfo
from schemas.recipe import Video
from schemas.structured import StructuredCaption
from schemas.tables import CaptionRow, Level


def caption_row(
    video: Video,
    outcome: Outcome,
    settings: RecipeSettings,
    *,
    info: VideoInfo | None,
    num_frames: int | None,
    caption: str | None = None,
    level: Level = "video",
    index: int = 0,
    start_sec: float | None = 0.0,
    end_sec: float | None = None,
    structured: StructuredCaption | None = None,
    details: Mapping[str, Any] | None = None,
) -> CaptionRow:
    """One row.

    Args:
        info: facts about the file, None where they are not known.
        num_frames: frames that the model saw, None where it saw text.
        caption: what to store, by default the answer's text.
        end_sec: by default the end of the video.
        details: what else to tell about the row.
    """
    length = None if info is None else info.duration_sec
    return CaptionRow(
        video_id=video.video_id,
        uri=video.uri,
        level=level,
        index=index,
        start_sec=start_sec,
        end_sec=length if end_sec is None else end_sec,
        caption=outcome.answer.text if caption is None else caption,
        structured=None if structured is None else structured.model_dump_json(),
        structured_fields=None if structured is None else structured.model_dump(),
        caption_status=outcome.status,
        status_reason=outcome.reason,
        details=json.dumps(details, ensure_ascii=False) if details else None,
        attempts=outcome.attempts,
        prompt_tokens=outcome.prompt_tokens,
        output_tokens=outcome.output_tokens,
        duration_sec=length,
        fps=None if info is None else info.fps,
        width=None if info is None else info.width,
        height=None if info is None else info.height,
        num_frames=num_frames,
        has_audio=None if info is None else info.has_audio,
        model=settings.model,
        model_revision=settings.model_revision,
        prompt_hash=settings.prompt_hash,
        metadata=video.metadata,
        source_version=video.source_version,
    )
