"""Manifests: tables of videos, in the forms that :mod:`rayjob.inputs.rows` reads.

Columns: ``uri`` (or ``path``, ``video``, ``url``, ``video_path``; the first that is there,
in upper or lower case) and optionally ``video_id``. The other columns become the metadata;
of them, ``version`` also tells one content of a video from another.

* A relative path counts from the manifest's folder; locally, from the current folder if the
  file is only there. A space at one end belongs to a name; spaces at both ends do where a local
  file has that name, and otherwise only surround it.
* A video as the Hugging Face hub stores it (``bytes`` and ``path``) stands for its path; beside
  another of these columns, for nothing.
* A row may name a span of the video, or several: see :mod:`rayjob.inputs.spans`. An address may
  end with one (``#t=12.5,20``), which then counts.
* Without a ``video_id`` column the id is the path relative to the manifest's folder; for a
  video elsewhere, its uri without scheme and leading slash, as
  :func:`actors.storage.uris.public_uri` has it. To it a segment adds its span, and so do the
  segments of a row with several to a ``video_id``.
* A .txt file holds one uri per line; empty lines and lines that begin with ``#`` are left
  out.
"""

from __future__ import annotations

import base64
import datetime
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urljoin

from actors.storage.archives import Member
from actors.storage.places import WEB_SCHEMES
from actors.storage.segments import plain_fragment
from actors.storage.uris import (
    LOCAL_SCHEMES,
    S3_SCHEMES,
    S3Address,
    display_uri,
    local_path,
    public_text,
    public_uri,
    scheme_of,
    split_inside,
    split_segment,
)
from rayjob.inputs.rows import URI_COLUMNS, iter_rows
from rayjob.inputs.spans import Spanned, spanned
from schemas.errors import OpenError, SourceError
from schemas.media import StorageOptions


@dataclass(frozen=True, slots=True)
class Input:
    """One video to caption.

    Attributes:
        video_id: its key in every table.
        uri: an absolute local path, ``s3://bucket/key``, or another URL from a manifest; of a
            segment with its span (:mod:`actors.storage.segments`).
        metadata: JSON object with sorted keys of the manifest's other columns, None
            without any.
        source_version: changes when the content changes; None where unknown.
        material: JSON document of earlier captions, None where the video is the input.
        row: the cells of the manifest's row by column, None where it was not in a manifest.
    """

    video_id: str
    uri: str
    metadata: str | None = None
    source_version: str | None = None
    material: str | None = None
    row: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        for text in (self.video_id, self.uri):
            try:
                text.encode()
            except UnicodeEncodeError:
                raw = text.encode(errors="surrogateescape" if _is_file_name(text) else "replace")
                raise SourceError(
                    f"the name {raw!r} is not UTF-8, and the tables hold text only; rename it"
                ) from None


def read_manifest(uri: str, storage: StorageOptions) -> Iterator[Input]:
    """List the videos of a manifest, in its order.

    Args:
        uri: an absolute local path or ``s3://bucket/key``.
        storage: how to reach S3.

    Raises:
        SourceError: it cannot be read, a row is malformed or names no video; the message
            says which row. Also if there is no row at all.
    """
    none, manifest = True, display_uri(uri)
    for where, row in iter_rows(uri, storage):
        none = False
        yield from inputs_of(row, manifest=manifest, where=where)
    if none:
        raise SourceError(f"{manifest} has no rows")


def inputs_of(row: Mapping[str, Any], *, manifest: str, where: str) -> list[Input]:
    """The videos of a row, several where it names several spans of one.

    Args:
        manifest: its address as messages show it.
        where: the row stands in it.

    Raises:
        SourceError: as :func:`read_manifest`.
    """
    try:
        return list(_inputs(row, manifest.rpartition("/")[0] + "/"))
    except (SourceError, OpenError) as error:
        raise SourceError(f"{manifest}, {where}: {error}") from None
    except RecursionError:
        raise SourceError(f"{manifest}, {where}: nested too deeply") from None


def _inputs(row: Mapping[str, Any], folder: str) -> Iterator[Input]:
    column = _uri_column(row)
    uri, segment = split_segment(_given_uri(column, row[column]))
    uri = _resolved(uri, folder)
    named = [Spanned(plain_fragment(segment), row)] if segment else spanned(row)
    for each in named:
        others = {
            name: {"path": cell.get("path")} if _is_video(cell) else cell
            for name, cell in each.row.items()
            if name != column or (_is_video(cell) and cell["bytes"] and cell.get("path"))
        }
        yield _input(uri, folder, each, others)


def _uri_column(row: Mapping[str, Any]) -> str:
    columns = {name.strip().lower(): name for name in row}
    named = [columns[name] for name in URI_COLUMNS if name in columns]
    named += [name for name, cell in row.items() if _is_video(cell) and name not in named]
    if not named:
        raise SourceError(
            f"no column with the video's uri ({', '.join(URI_COLUMNS)}); "
            f"it has the columns {', '.join(row) or 'none at all'}"
        )
    # A video in a cell comes last, and where it is null it is not told from an empty path.
    return min(named, key=lambda name: row[name] is None or isinstance(row[name], Mapping))


def _input(uri: str, folder: str, span: Spanned, others: Mapping[str, Any]) -> Input:
    columns = {name.strip().lower(): name for name in others}
    id_column = columns.get("video_id")
    video_id = _default_id(uri, folder) if id_column is None else _given_id(others[id_column])
    if id_column is None or span.is_one_of_many:
        video_id += span.fragment
    version = _plain(others[columns["version"]]) if "version" in columns else None
    return Input(
        video_id,
        uri + span.fragment,
        metadata_json({name: others[name] for name in others if name != id_column}),
        None if version in (None, "") else str(version),
        row=span.row,
    )


def _given_uri(column: str, value: Any) -> str:
    if _is_video(value):
        value = value["bytes"] or value.get("path")
    elif isinstance(value, Mapping) and set(value) <= {"bytes", "path"} and value.get("path"):
        value = value["path"]
    if value is None or (isinstance(value, str) and not value.strip()):
        raise SourceError(f"the column {column!r} is empty")
    if not isinstance(value, str):
        raise SourceError(f"the column {column!r} must hold text, not {type(value).__name__}")
    return value


def _is_video(cell: Any) -> bool:
    """Whether a cell is a video, as :func:`rayjob.inputs.rows.iter_rows` has it."""
    if not isinstance(cell, Mapping) or not {"bytes"} <= set(cell) <= {"bytes", "path"}:
        return False
    place = cell["bytes"]
    return place is None or (isinstance(place, str) and place.startswith("parquet://"))


def _given_id(value: Any) -> str:
    if isinstance(value, bool | float):
        raise SourceError(f"the column 'video_id' must hold text, not {type(value).__name__}")
    plain = _plain(value)
    text = plain if isinstance(plain, str) else json.dumps(plain, sort_keys=True)
    if plain is None or not text.strip():
        raise SourceError("the column 'video_id' is empty")
    return public_text(text)


def _resolved(uri: str, folder: str) -> str:
    """The uri as tables store it: an absolute path, or a URL."""
    inside, file = split_inside(uri.strip())
    if inside:
        return f"{inside}::{_resolved(file, folder)}"
    bare = uri.strip()
    if "://" in bare:
        uri = bare if uri[0].isspace() or scheme_of(bare) not in S3_SCHEMES else uri
    scheme, path = scheme_of(uri), local_path(uri)
    if scheme in S3_SCHEMES:
        location = S3Address.parse(uri)
        if not location.key:
            raise SourceError(f"{uri} names a bucket, not a video")
        return str(location)
    if path is None:
        return uri
    path = os.path.expanduser(path)
    if os.path.isabs(path) and path == path.strip():
        return os.path.abspath(path)
    meant = path.strip() if path[0].isspace() and path[-1].isspace() else path
    if scheme_of(folder) in WEB_SCHEMES:
        return urljoin(folder, quote(meant))
    if scheme_of(folder) not in (*LOCAL_SCHEMES, *S3_SCHEMES):
        return folder + meant
    if scheme_of(folder) in LOCAL_SCHEMES:
        places = (
            os.path.abspath(os.path.join(base, name))
            for name in dict.fromkeys((path, path.strip()))
            for base in (folder, ".")
        )
        beside = os.path.abspath(os.path.join(folder, meant))
        return next(filter(os.path.exists, places), beside)
    base = S3Address.parse(folder)
    parts = base.key.split("/")[:-1]
    for part in meant.split("/"):
        if part == ".." and not parts:
            raise SourceError(f"{uri} leads out of the bucket")
        if part == "..":
            parts.pop()
        elif part != ".":  # an empty one is part of a key
            parts.append(part)
    return str(S3Address(base.bucket, "/".join(parts)))


def _default_id(uri: str, folder: str) -> str:
    member = Member.parse(uri)
    if member is not None:
        name = member.name.rpartition("/")[2] if member.kind == "parquet" else member.name
        return f"{_default_id(member.file, folder)}/{name}"
    if uri.startswith(folder):
        return uri[len(folder) :]
    if "://" not in uri:
        return uri.lstrip("/")
    return public_uri(uri).partition("://")[2]


def metadata_json(columns: Mapping[str, Any]) -> str | None:
    """What else is known of a video as the tables hold it; None for nothing."""
    if not columns:
        return None
    plain = {str(name): _plain(value) for name, value in columns.items()}
    text = json.dumps(plain, sort_keys=True, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can escape
        return json.dumps(plain, sort_keys=True, allow_nan=False)
    return text


def _plain(value: Any) -> Any:
    """The value as JSON can hold it. NaN becomes null, bytes base64, times ISO 8601."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    return str(value)  # a decimal number, a UUID


def _is_file_name(text: str) -> bool:
    """Whether the surrogates in it are undecodable bytes of a file name."""
    return all(
        not "\ud800" <= letter <= "\udfff" or "\udc80" <= letter <= "\udcff" for letter in text
    )
