"""Inputs of a job: files, folders, globs, ``s3://`` prefixes and manifests, as a stream.

What a string means is decided in this order:

1. a local path or an object that exists under exactly this name (even with a ``*`` in it):
   a manifest if it ends as :mod:`rayjob.inputs.rows` says, else one video; a local folder is
   taken with all that is below it;
2. a glob, if it holds ``*``, ``?`` or ``[``: ``**`` stands for any number of folders,
   the others never cross a ``/``, and a leading dot must be written out;
3. on S3, the "folder" ``KEY/``, and if nothing is in it, all keys that begin with ``KEY``.

Archives (:mod:`rayjob.inputs.archives`) are taken like folders, wherever they are found.

Of any other scheme (``gs://``, ``az://``) whose fsspec driver is installed, a file or a prefix.

An ``http(s)://`` address is one file: a video, a manifest or an archive, by the end of its path.

``OUT/segments`` of an output of ``rayjob split`` stands for the segments that are kept.

With ``#t=BEGIN,END`` behind it, any of these stands for that span of each of its videos.

A video's id is its path relative to that folder or prefix; for a glob, to the last folder
before the first wildcard; for a single video, its name. :mod:`rayjob.inputs.manifests` says how
ids come out of a manifest. Folders and prefixes are listed in one order, that of the bytes
of the path, locally as on S3.

Taken from folders, prefixes and globs are the files whose extension is configured. Left out
without a word are hidden files and folders (``.name``), folders named ``_temporary``, and
markers such as ``_SUCCESS`` (``_name`` without an extension). An empty file is an input: it
becomes a row in ``failures``.

Each input carries the version of its content, so that a later run sees whether it changed:
on S3 the ETag, locally "SIZE-MTIME" in bytes and nanoseconds, in a manifest what its column
``version`` says.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote

from actors.storage.access import client_of
from actors.storage.archives import Member, kind_of
from actors.storage.client import Client, Head
from actors.storage.places import WEB_SCHEMES, Places
from actors.storage.s3 import S3Object, s3_client
from actors.storage.segments import plain_fragment
from actors.storage.uris import (
    LOCAL_SCHEMES,
    S3_SCHEMES,
    S3Address,
    display_uri,
    file_of,
    local_path,
    scheme_of,
    split_segment,
)
from rayjob.inputs.archives import iter_archive
from rayjob.inputs.columns import Listed, read_columns
from rayjob.inputs.disk import disk_version, walk
from rayjob.inputs.globs import WILDCARD, Glob, is_hidden, split_glob
from rayjob.inputs.manifests import Input, read_manifest
from rayjob.inputs.rows import SUFFIXES, has_videos
from rayjob.inputs.segments import folders_of, kept_segments
from schemas.errors import (
    AccessDeniedError,
    CredentialsError,
    NotFoundError,
    OpenError,
    SourceError,
)
from schemas.media import StorageOptions
from schemas.sources import SourceConfig

__all__ = ["Input", "iter_inputs", "iter_listed"]

_Reader = Callable[[str, StorageOptions], Iterator[Listed]]


def iter_inputs(
    inputs: Sequence[str], *, source: SourceConfig, storage: StorageOptions
) -> Iterator[Input]:
    """List inputs one by one, while the caller takes them.

    An input that is listed twice comes twice. Memory does not grow with their number: a local
    folder's own entries are sorted in memory, S3 is asked for one page of 1000 keys at a time.

    Args:
        inputs: what the module's docstring lists.
        source: which files of folders are taken.
        storage: how to reach S3.

    Raises:
        SourceError: nothing is there, or it cannot be read.
    """
    for each in iter_listed(inputs, source=source, storage=storage, read=read_manifest):
        assert isinstance(each, Input)
        yield each


def iter_listed(
    inputs: Sequence[str],
    *,
    source: SourceConfig,
    storage: StorageOptions,
    read: _Reader = read_columns,
) -> Iterator[Listed]:
    """As :func:`iter_inputs`, many at a time where that is faster.

    Args:
        read: what lists a manifest.
    """
    for text in inputs:
        try:
            yield from _Source(text, source, storage, read).inputs()
        except OpenError as error:
            raise SourceError(f"{error}") from None


def places_of(inputs: Sequence[str], storage: StorageOptions) -> Places:
    """Where the videos of some inputs may be: manifests name no others."""
    paths = (_absolute(path) for text in inputs if (path := local_path(file_of(text))) is not None)
    elsewhere = tuple(
        file
        for file in map(file_of, inputs)
        if scheme_of(file) not in (*LOCAL_SCHEMES, *S3_SCHEMES, *WEB_SCHEMES)
    )
    folders = {*map(_folder_of, paths)}
    for text in inputs:
        folders |= folders_of(text, storage)
    return Places(folders=tuple(sorted(folders)), opened=(*storage.places, *elsewhere))


def _folder_of(path: str) -> str:
    if os.path.isdir(path):
        return path
    if WILDCARD.search(path) and not os.path.lexists(path):
        path = split_glob(path)[0]
    return os.path.dirname(path)


class _Found(NamedTuple):
    """A file of a listing: its path below the input, where it is, and which content it has."""

    relative: str
    uri: str
    version: str | None


class _Source:
    """One of the strings a user passes, and what it stands for."""

    def __init__(
        self, text: str, source: SourceConfig, storage: StorageOptions, read: _Reader
    ) -> None:
        self._text = text
        self._source = source
        self._storage = storage
        self._read = read
        self._s3 = s3_client(storage)
        self._filter = _Filter(source.extensions)

    def inputs(self) -> Iterator[Listed]:
        address, segment = split_segment(self._text)
        if segment:
            whole = iter_inputs([address], source=self._source, storage=self._storage)
            return (_part(each, plain_fragment(segment)) for each in whole)
        if not self._text.strip():
            raise SourceError("an input is empty; pass a file, a folder, a glob or an s3:// prefix")
        if (segments := kept_segments(self._text, self._storage)) is not None:
            return segments
        if (member := Member.parse(self._text)) is not None:
            if (path := local_path(member.file)) is not None:
                member = replace(member, file=_absolute(path))
            return iter([Input(member.name, member.uri)])
        if (path := local_path(self._text)) is not None:
            return self._from_disk(_absolute(path))
        scheme = scheme_of(self._text)
        if scheme in WEB_SCHEMES:
            # A server has no listing: this is one file.
            name = display_uri(self._text).rpartition("/")[2]
            return self._named(unquote(name) or self._text, self._text, None)
        if scheme not in S3_SCHEMES:
            return self._from_driver(client_of(scheme, self._storage), self._text)
        return self._from_s3(S3Address.parse(self._text))

    def _from_disk(self, path: str) -> Iterator[Listed]:
        try:
            is_folder = stat.S_ISDIR(os.stat(path).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            is_folder = False
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror}") from None
        if is_folder:
            return self._required(_on_disk(path, walk(path)), path)
        if os.path.lexists(path):
            return self._named(os.path.basename(path), path, disk_version(path))
        if not WILDCARD.search(path):
            raise SourceError(f"nothing at {path}: no such file or folder")
        base, pattern = split_glob(path)
        if not os.path.isdir(base):
            raise SourceError(f"nothing matches {path}: there is no folder {base}")
        glob = Glob(pattern)
        matching = (each for each in walk(base, glob.enters) if glob.matches(each))
        return self._required(_on_disk(base, matching), path)

    def _from_s3(self, at: S3Address) -> Iterator[Listed]:
        if at.key and not at.key.endswith("/") and (found := self._head(at)):
            return self._named(at.key.rsplit("/", 1)[-1], str(at), found.version)
        if not WILDCARD.search(at.key):
            return self._s3_prefix(at)
        base, pattern = split_glob(at.key)
        glob = Glob(pattern)
        literal = WILDCARD.split(at.key, maxsplit=1)[0]
        objects = _on_s3(at, base, self._s3.objects(S3Address(at.bucket, literal)))
        return self._required((each for each in objects if glob.matches(each.relative)), str(at))

    def _from_driver(self, client: Client, uri: str) -> Iterator[Listed]:
        """A file or a prefix of a storage that only its fsspec driver knows."""
        files, folder = client.below(uri), f"{uri.rstrip('/')}/"
        if [each.uri for each in files] == [uri]:
            return self._named(uri.rpartition("/")[2], uri, files[0].version)
        found = (
            _Found(each.uri[len(folder) :], each.uri, each.version)
            for each in files
            if each.uri.startswith(folder)
        )
        return self._required((each for each in found if not is_hidden(each.relative)), uri)

    def _head(self, at: S3Address) -> Head | None:
        try:
            return self._s3.head(str(at))
        except (NotFoundError, AccessDeniedError, CredentialsError):
            return None  # if it is worth an error, listing will raise it

    def _s3_prefix(self, at: S3Address) -> Iterator[Listed]:
        folder = at.key if at.key.endswith("/") or not at.key else f"{at.key}/"
        objects = self._s3.objects(S3Address(at.bucket, folder))
        first = next(objects, None)
        if first is None and folder != at.key:
            objects = self._s3.objects(at)
            first = next(objects, None)
            folder = at.key[: at.key.rfind("/") + 1]
        if first is None:
            raise SourceError(f"nothing at {at}: no object has a key that begins with this")
        found = _on_s3(at, folder, itertools.chain([first], objects))
        return self._required((each for each in found if not is_hidden(each.relative)), str(at))

    def _named(self, name: str, uri: str, version: str | None) -> Iterator[Listed]:
        if _is_manifest(name):
            return self._read(uri, self._storage)
        if kind_of(name) is not None:
            return self._some(iter_archive("", uri, self._storage, self._filter.takes), uri)
        return iter([Input(name, uri, source_version=version)])

    def _required(self, found: Iterable[_Found], shown: str) -> Iterator[Input]:
        """The files that pass the filter, and those in archives, at least one of them."""
        return self._some(itertools.chain.from_iterable(map(self._of_file, found)), shown)

    def _of_file(self, found: _Found) -> Iterator[Input]:
        relative, uri, version = found
        if kind_of(relative) is not None:
            yield from iter_archive(relative, uri, self._storage, self._filter.takes)
        elif relative.lower().endswith(".parquet") and has_videos(uri, self._storage):
            for row in read_manifest(uri, self._storage):
                own = f"{PurePosixPath(relative).name}/"
                is_cell = row.video_id.startswith(own)
                yield (
                    replace(row, video_id=f"{relative}/{row.video_id[len(own) :]}")
                    if is_cell
                    else row
                )
        elif self._filter.takes(relative):
            if split_segment(uri)[1]:
                raise SourceError(f"{uri} is named as a segment of a video is; rename it")
            yield Input(relative, uri, source_version=version)

    def _some(self, found: Iterable[Input], shown: str) -> Iterator[Input]:
        none = True
        for each in found:
            none = False
            yield each
        if none:
            raise SourceError(f"no videos in {shown}: {self._filter.explanation(shown)}")


def _part(whole: Input, segment: str) -> Input:
    if split_segment(whole.uri)[1]:
        raise SourceError(f"{whole.uri} is a segment already; pass its manifest without {segment}")
    return replace(whole, video_id=whole.video_id + segment, uri=whole.uri + segment)


class _Filter:
    """Which files are videos, by extension; counts the others for the message."""

    def __init__(self, extensions: Sequence[str]) -> None:
        self._all = "*" in extensions
        self._extensions = frozenset(extensions)
        self._skipped: Counter[str] = Counter()

    def takes(self, path: str) -> bool:
        name = path.rsplit("/", 1)[-1]
        dot = name.rfind(".")
        extension = name[dot + 1 :].lower() if dot > 0 else ""
        if name.startswith("_") and not extension:
            return False
        if self._all or extension in self._extensions:
            return True
        self._skipped[extension if len(self._skipped) < 1000 else "..."] += 1
        return False

    def explanation(self, shown: str) -> str:
        """Why nothing passed, as the end of a sentence."""
        total = self._skipped.total()
        if not total and WILDCARD.search(shown):
            return "no file matches; a glob means files, /** at its end all that is below"
        if not total:
            return "there are no files"
        kinds = ", ".join(
            f"{count} {'.' + extension if extension else 'without one'}"
            for extension, count in self._skipped.most_common(5)
        )
        return (
            f"{total} file{'s were' if total > 1 else ' was'} skipped by extension ({kinds}); "
            "to take them, set source.extensions, '*' for all"
        )


def _is_manifest(text: str) -> bool:
    return text.lower().endswith(SUFFIXES)


def _on_disk(root: str, paths: Iterable[str]) -> Iterator[_Found]:
    for relative in paths:
        path = os.path.join(root, relative)
        yield _Found(relative, path, disk_version(path))


def _on_s3(at: S3Address, folder: str, objects: Iterable[S3Object]) -> Iterator[_Found]:
    for each in objects:
        yield _Found(each.key[len(folder) :], str(S3Address(at.bucket, each.key)), each.version)


def _absolute(path: str) -> str:
    # abspath drops a slash at the end, which means something in a glob.
    end = "/" if path.endswith("/") and WILDCARD.search(path) else ""
    return os.path.abspath(os.path.expanduser(path)) + end
