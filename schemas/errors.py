"""Every error this project raises on purpose, as one tree.

::

    RayjobError
    ├── UsageError               a command cannot start (exit code 2)
    │   ├── ConfigError          a flag or a configuration file is wrong
    │   ├── SourceError          an input cannot be listed or read as a manifest
    │   └── ModelError           the model is missing or does not fit the job
    ├── OutputLockedError        another run holds the output (exit code 1; nightly: 4)
    │   └── LockLostError        another run took the output over (exit code 1)
    ├── OutputUnavailableError   the output's storage fails in spite of retries (exit code 1)
    ├── DecoderFaultError        a fault of the decoding process, not known to be the video's
    ├── EngineDiedError          a replica cannot be used any more; never reaches a table
    └── VideoError               costs one video one row in ``failures``
        ├── OpenError            stage "open"
        │   ├── NotFoundError
        │   │   └── NoSuchPlaceError     nor the bucket or folder where it should be
        │   ├── AccessDeniedError
        │   ├── PlaceNotAllowedError     a manifest names what it may not
        │   ├── CredentialsError         missing, expired or not valid
        │   ├── EmptyFileError
        │   ├── NotAVideoError           not a media file, or its header is broken
        │   ├── ReplacedError            another version took its place meanwhile
        │   └── StorageUnavailableError
        ├── DecodeError          stage "decode"
        │   ├── NoMediaStreamError       no picture and no sound in the container
        │   ├── UnsupportedCodecError
        │   ├── CorruptMediaError        streams are there but nothing can be decoded
        │   ├── TruncatedMediaError      the file ends before its header says
        │   ├── MediaLimitError          larger or longer than the limits allow
        │   ├── SegmentError             not a span of time, or none of it is in the video
        │   ├── DecodeTimeoutError
        │   └── DecoderCrashedError      the child process died (signal, memory)
        ├── CaptionError         stage "caption"
        │   ├── PromptTooLongError
        │   ├── RequestRejectedError     the engine refuses this video's request
        │   ├── PreparationDiedError     the process died that prepared the request
        │   ├── PreparationTimeoutError  preparing the request took too long
        │   ├── EndpointUnavailableError  an engine elsewhere fails in spite of retries
        │   ├── EngineCrashedError       the engine died while this video was in flight
        │   ├── UnusableMaterialError    fusion: there is nothing in the captions to fuse
        │   ├── MissingMaterialError     fusion: the captions do not cover the video
        │   ├── AbnormalCaptionError     fusion: the text repeats itself, ends abruptly, ...
        │   └── IncompleteError          a part has captions, the rest failed
        └── WriteError           stage "write"

The class name is the ``error`` column of ``failures``; ``stage`` and ``cause`` are class
attributes, so that they survive pickling between processes.

What is tried again follows from the cause of an error, in one table: :class:`Cause`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, ClassVar, Literal

Stage = Literal["open", "decode", "caption", "write"]


class Cause(Enum):
    """Why a video failed, as far as can be told, and what follows from it.

    The table of docs/reliability.md. The value is the ``cause`` column of ``failures``.

    Attributes:
        tries: runs that start on a video which fails for this cause, those before included; then
            it is left alone. None for no limit.
        doubtful: whether the surroundings (storage, machine, engine) may be to blame, so that many
            such failures in a row accuse them and not the videos.
    """

    DATA = "data", 1, False
    """The file itself, or what was captioned before: read, looked at and found wanting."""
    MISSING = "missing", 1, False
    """The storage answered that there is no such object: lists have long stretches of them."""
    REFUSED = "refused", 1, True
    """The storage or the engine refuses this request."""
    PERMISSION = "permission", 3, True
    """The storage denies access: to this object, or since somebody changed a policy."""
    CREDENTIALS = "credentials", None, True
    """The credentials are missing, expired or not valid."""
    AVAILABILITY = "availability", None, True
    """The storage throttles, does not answer or cannot be reached, in spite of retries."""
    TIME = "time", 3, True
    """It took too long: the file is large, or the machine or the storage was slow."""
    MEMORY = "memory", 3, True
    """Decoding or preparing was killed: by the file, or by a machine that ran out of memory."""
    ENGINE = "engine", 1, True
    """Engines or whole nodes went down, again and again, with this video alone."""
    MATERIAL = "material", None, False
    """The captions that are to be fused do not cover the video yet."""
    UNFORESEEN = "unforeseen", 3, True
    """An error that nobody foresaw: a bug, or the machine's state."""

    tries: int | None
    doubtful: bool

    def __new__(cls, value: str, tries: int | None, doubtful: bool) -> Cause:
        """Make a member whose value is its name in the tables."""
        member = object.__new__(cls)
        member._value_, member.tries, member.doubtful = value, tries, doubtful
        return member

    @classmethod
    def of(cls, error: BaseException) -> Cause:
        """The cause of an error; UNFORESEEN unless the error is one of a video."""
        return error.cause if isinstance(error, VideoError) else cls.UNFORESEEN

    def is_tried_again(self, attempts: int) -> bool:
        """Whether a later run tries again, after so many attempts over all runs."""
        return self.tries is None or attempts < self.tries


DOUBTFUL = frozenset(cause.value for cause in Cause if cause.doubtful)
"""What stands in the ``cause`` column of failures that may accuse the surroundings."""


class RayjobError(Exception):
    """Base of every error raised on purpose."""


class UsageError(RayjobError):
    """A command cannot start; the message says what to do."""


class ConfigError(UsageError):
    """A flag or a configuration file is wrong."""


class SourceError(UsageError):
    """An input cannot be listed, or a manifest cannot be read."""


class ModelError(UsageError):
    """The model is missing, or does not fit the job."""


class OutputLockedError(RayjobError):
    """Another run holds the output."""


class LockLostError(OutputLockedError):
    """This run held the output, and another one took it over."""


class OutputUnavailableError(RayjobError):
    """The output's storage failed in spite of retries; the same command goes on later."""


class DecoderFaultError(RayjobError):
    """The decoding process failed in a way that nobody foresaw.

    A bug or the machine's state, as far as is known, and so no property of the video: it costs
    the video a row that later runs try again, as every unforeseen error does.
    """


class EngineDiedError(RayjobError):
    """The engine behind a replica is gone; the replica ends and starts again, and so do the
    videos that were in flight.
    """


class VideoError(RayjobError):
    """One video cannot be processed. Costs one row in ``failures``.

    Attributes:
        stage: where it happened, the ``stage`` column.
        cause: decides whether a later run tries again without ``--retry-failed``.
        warnings: what was odd about the file before it failed, one sentence each; None where
            it was not looked at.
    """

    stage: ClassVar[Stage] = "decode"
    cause: ClassVar[Cause] = Cause.DATA
    warnings: Sequence[str] | None = None


class OpenError(VideoError):
    """The file cannot be opened."""

    stage = "open"
    cause = Cause.REFUSED


class NotFoundError(OpenError):
    """There is no such file or object."""

    cause = Cause.MISSING


class NoSuchPlaceError(NotFoundError):
    """Neither is the bucket or the folder that should hold it, such as on a disk that is not
    mounted.
    """

    cause = Cause.AVAILABILITY


class AccessDeniedError(OpenError):
    """The storage refuses to hand the file out."""

    cause = Cause.PERMISSION


class PlaceNotAllowedError(OpenError):
    """A manifest names a place that it may not; another setting lets it, so a later run tries."""

    cause = Cause.PERMISSION


class CredentialsError(OpenError):
    """The credentials are missing, expired or not valid; the file may be all right."""

    cause = Cause.CREDENTIALS


class EmptyFileError(OpenError):
    """The file has no bytes."""

    cause = Cause.DATA


class NotAVideoError(OpenError):
    """Not a media file, or its header is broken."""

    cause = Cause.DATA


class StorageUnavailableError(OpenError):
    """The storage did not answer properly in spite of retries."""

    cause = Cause.AVAILABILITY


class ReplacedError(OpenError):
    """What is in the storage is not, or not any more, the version that was expected."""

    cause = Cause.AVAILABILITY


class DecodeError(VideoError):
    """The file opens but cannot be decoded."""

    stage = "decode"


class NoMediaStreamError(DecodeError):
    """The container holds neither picture nor sound, or none that the plan takes."""


class UnsupportedCodecError(DecodeError):
    """No decoder for the codec."""


class CorruptMediaError(DecodeError):
    """Streams are there, but not one frame or sample can be decoded."""


class TruncatedMediaError(DecodeError):
    """The file ends before the time that its header announces."""


class MediaLimitError(DecodeError):
    """Larger or longer than the configured limits."""


class SegmentError(DecodeError):
    """What the address names is not a span of time, or nothing of the span is in the video."""


class DecodeTimeoutError(DecodeError):
    """Decoding took longer than the configured wall time."""

    cause = Cause.TIME


class DecoderCrashedError(DecodeError):
    """The decoding process died: a signal, or its memory limit.

    Attributes:
        died: a signal ended it, and not its own use of memory.
        cause: MEMORY where it died, as the signal may have come from anywhere; else DATA.
    """

    def __init__(self, message: str, *, died: bool = False) -> None:
        super().__init__(message)
        self.died = died
        self.cause = Cause.MEMORY if died else Cause.DATA  # type: ignore[misc]


class CaptionError(VideoError):
    """The engine cannot caption the video."""

    stage = "caption"


class PromptTooLongError(CaptionError):
    """The prompt does not fit the model's context."""

    cause = Cause.REFUSED


class RequestRejectedError(CaptionError):
    """The engine refuses the request."""

    cause = Cause.REFUSED


class PreparationDiedError(CaptionError):
    """The process died that prepared the request for the engine."""

    cause = Cause.MEMORY


class PreparationTimeoutError(CaptionError):
    """Preparing the request for the engine took too long."""

    cause = Cause.TIME


class EndpointUnavailableError(CaptionError):
    """An engine elsewhere does not answer properly in spite of retries, or refuses the key."""

    cause = Cause.AVAILABILITY


class EngineCrashedError(CaptionError):
    """The engine died, more than once, while this video was in flight."""

    cause = Cause.ENGINE


class UnusableMaterialError(CaptionError):
    """What was captioned before holds nothing that could be fused."""


class MissingMaterialError(CaptionError):
    """The captions do not cover the video yet."""

    cause = Cause.MATERIAL


class AbnormalCaptionError(CaptionError):
    """The fused caption breaks a rule, and such captions are to be kept out."""


class IncompleteError(CaptionError):
    """Captioning stopped midway: the rows made so far are kept beside this failure.

    Attributes:
        rows: rows of ``captions``, :class:`schemas.tables.CaptionRow`.
        cause: as of the error that stopped it.
    """

    def __init__(
        self, message: str, *, rows: Sequence[Any] = (), cause: Cause = Cause.DATA
    ) -> None:
        super().__init__(message)
        self.rows: tuple[Any, ...] = tuple(rows)
        self.cause = cause  # type: ignore[misc]


class WriteError(VideoError):
    """The video's rows cannot be written."""

    stage = "write"
