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
        │   ├── AccessDeniedError
        │   ├── PlaceNotAllowedError     a manifest names what it may not; transient
        │   ├── CredentialsError         missing, expired or not valid; transient
        │   ├── EmptyFileError
        │   ├── NotAVideoError           not a media file, or its header is broken
        │   └── StorageUnavailableError  transient
        ├── DecodeError          stage "decode"
        │   ├── NoMediaStreamError       no picture and no sound in the container
        │   ├── UnsupportedCodecError
        │   ├── CorruptMediaError        streams are there but nothing can be decoded
        │   ├── TruncatedMediaError      the file ends before its header says
        │   ├── MediaLimitError          larger or longer than the limits allow
        │   ├── DecodeTimeoutError
        │   └── DecoderCrashedError      the child process died (signal, memory)
        ├── CaptionError         stage "caption"
        │   ├── PromptTooLongError
        │   ├── RequestRejectedError     the engine refuses this video's request
        │   ├── EngineCrashedError       the engine died while this video was in flight
        │   ├── UnusableMaterialError    fusion: there is nothing in the captions to fuse
        │   ├── MissingMaterialError     fusion: the captions do not cover the video; transient
        │   ├── AbnormalCaptionError     fusion: the text repeats itself, ends abruptly, ...
        │   └── IncompleteError          a part has captions, the rest failed
        └── WriteError           stage "write"

The class name is the ``error`` column of ``failures``; ``stage`` and ``transient`` are
class attributes, so that they survive pickling between processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

Stage = Literal["open", "decode", "caption", "write"]


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
        transient: whether a later run tries again without ``--retry-failed``.
    """

    stage: ClassVar[Stage] = "decode"
    transient: ClassVar[bool] = False


class OpenError(VideoError):
    """The file cannot be opened."""

    stage = "open"


class NotFoundError(OpenError):
    """There is no such file or object."""


class AccessDeniedError(OpenError):
    """The storage refuses to hand the file out."""


class PlaceNotAllowedError(OpenError):
    """A manifest names a place that it may not; another setting lets it, so a later run tries."""

    transient = True


class CredentialsError(OpenError):
    """The credentials are missing, expired or not valid; the file may be all right."""

    transient = True


class EmptyFileError(OpenError):
    """The file has no bytes."""


class NotAVideoError(OpenError):
    """Not a media file, or its header is broken."""


class StorageUnavailableError(OpenError):
    """The storage did not answer properly in spite of retries."""

    transient = True


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


class DecodeTimeoutError(DecodeError):
    """Decoding took longer than the configured wall time."""


class DecoderCrashedError(DecodeError):
    """The decoding process died: a signal, or its memory limit.

    Attributes:
        died: it ended by itself or by a signal, and was not ended for its use of memory.
    """

    def __init__(self, message: str, *, died: bool = False) -> None:
        super().__init__(message)
        self.died = died


class CaptionError(VideoError):
    """The engine cannot caption the video."""

    stage = "caption"


class PromptTooLongError(CaptionError):
    """The prompt does not fit the model's context."""


class RequestRejectedError(CaptionError):
    """The engine refuses the request."""


class EngineCrashedError(CaptionError):
    """The engine died, more than once, while this video was in flight."""


class UnusableMaterialError(CaptionError):
    """What was captioned before holds nothing that could be fused."""


class MissingMaterialError(CaptionError):
    """The captions do not cover the video yet."""

    transient = True


class AbnormalCaptionError(CaptionError):
    """The fused caption breaks a rule, and such captions are to be kept out."""


class IncompleteError(CaptionError):
    """Captioning stopped midway: the rows made so far are kept beside this failure.

    Attributes:
        rows: rows of ``captions``, :class:`schemas.tables.CaptionRow`.
        transient: as of the error that stopped it.
    """

    def __init__(self, message: str, *, rows: Sequence[Any] = (), transient: bool = False) -> None:
        super().__init__(message)
        self.rows: tuple[Any, ...] = tuple(rows)
        self.transient = transient  # type: ignore[misc]


class WriteError(VideoError):
    """The video's rows cannot be written."""

    stage = "write"
