"""Videos inside tar and zip archives, as inputs.

In a tar, as WebDataset has them, the members of one key follow each other: the key is the path up
to the first dot of its last part. Of a key the video is the input and the key its id; beside it a
``.json`` (an object), a ``.txt`` and a ``.cls`` are its metadata. In a zip the id is the member's
path.

An archive that cannot be read costs one input, which fails and says why.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from actors.storage.access import open_file
from actors.storage.archives import Entry, Member, Skimmer, entries, kind_of
from actors.storage.uris import display_uri
from rayjob.inputs.globs import is_hidden
from rayjob.inputs.manifests import Input, metadata_json
from schemas.errors import EmptyFileError, OpenError, SourceError
from schemas.media import StorageOptions

_BESIDE = ("json", "txt", "cls")

_LONGEST = 16 << 20
"""Bytes of a file beside a video."""


@dataclass
class _Sample:
    """The members of one key."""

    key: str
    videos: list[Entry] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)


def iter_archive(
    relative: str, uri: str, storage: StorageOptions, takes: Callable[[str], bool]
) -> Iterator[Input]:
    """List the videos of an archive, in its order.

    Args:
        relative: its path below the input, "" where it is the input itself.
        uri: its address.
        takes: whether a member's path is a video's.

    Raises:
        OpenError: the storage fails.
        SourceError: a file beside a video is too long.
    """
    kind = kind_of(display_uri(uri))
    assert kind is not None
    try:
        file = open_file(uri, storage)
        try:
            samples = _samples(kind, entries(kind, uri, file.fetch, file.size), takes)
            for sample in samples:
                for video in sample.videos:
                    yield Input(
                        _id(kind, relative, sample, video),
                        Member.at(kind, uri, video, file.version).uri,
                        metadata_json(sample.metadata),
                        file.version,
                    )
        finally:
            file.close()
    except OpenError as error:
        if type(error) not in (OpenError, EmptyFileError):
            raise
        name = relative or display_uri(uri).rpartition("/")[2]
        yield Input(name, Member(kind, "", uri).uri)


def _id(kind: str, relative: str, sample: _Sample, video: Entry) -> str:
    if kind == "tar":
        return sample.key if len(sample.videos) == 1 else video.name
    return f"{relative}/{video.name}" if relative else video.name


def _samples(
    kind: str, found: Iterator[tuple[Entry, Skimmer]], takes: Callable[[str], bool]
) -> Iterator[_Sample]:
    """The members by key; in a zip each video by itself."""
    sample = _Sample("")
    for entry, reader in found:
        folder, slash, name = entry.name.removeprefix("./").rpartition("/")
        stem, _, suffix = name.partition(".")
        key = entry.name if kind == "zip" else f"{folder}{slash}{stem}"
        if key != sample.key:
            yield sample
            sample = _Sample(key)
        if is_hidden(f"{folder}{slash}{name}"):
            continue
        if takes(entry.name):
            sample.videos.append(entry)
        elif kind == "tar" and suffix.lower() in _BESIDE:
            sample.metadata |= _beside(suffix.lower(), entry, reader)
    yield sample


def _beside(suffix: str, entry: Entry, reader: Skimmer) -> dict[str, Any]:
    """What a file beside a video says of it."""
    if entry.size > _LONGEST:
        raise SourceError(f"{entry.name!r} in a tar is longer than {_LONGEST} bytes")
    reader.seek(entry.first)
    text = reader.read(entry.size).decode("utf-8", "replace").strip()
    if suffix == "json":
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            document = text
        return document if isinstance(document, dict) else {"json": document}
    if suffix == "cls" and text.isdecimal():
        return {"cls": int(text)}
    return {suffix: text}
