"""The output folder, local or on S3: whole files that appear at once or not at all.

Paths are relative to the root and use forward slashes. Readers of the tables never see a
file that is being written: locally it grows under ``runs/_tmp`` and is renamed, on S3 an
object appears when its upload is complete.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from botocore.exceptions import NoCredentialsError

from actors.storage.access import display_uri
from rayjob.output.range_file import range_file
from schemas.errors import ConfigError, OutputUnavailableError, RayjobError, UsageError
from schemas.media import StorageOptions

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
Guard = Callable[[], None]

_TEMPORARY = "runs/_tmp"
_TEMPORARY_AGE_SEC = 3600.0
_WHOLE_READ_BYTES = 1 << 20
"""Up to this size one request for the whole file is cheaper than footer plus columns."""

_PART = re.compile(r"part-(\d+)(?:-\w+)?\.parquet")
_PERMANENT = (RayjobError, FileNotFoundError, PermissionError, ValueError, TypeError)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:.*")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of a listing: path from the root, bytes, and the storage's own time of the
    last change in seconds since 1970.
    """

    path: str
    size: int
    modified: float

    @property
    def part(self) -> int:
        """Number of a shard, from its name; -1 for another file."""
        match = _PART.fullmatch(self.path.rsplit("/", 1)[-1])
        return int(match[1]) if match else -1


class TableStore:
    """Reads, lists and atomically writes files under one root.

    Args:
        root: a local folder (made when first written to) or ``s3://bucket/prefix``.
        options: how to reach S3; every request is tried ``1 + retries`` times.

    Raises:
        ConfigError: the root is neither.
    """

    def __init__(self, root: str | os.PathLike[str], options: StorageOptions | None = None) -> None:
        self.options = options or StorageOptions()
        text = os.fspath(root)
        scheme = match[1].lower() if (match := _SCHEME.match(text)) else "file"
        if scheme not in ("file", "s3", "s3a") or (match and "://" not in text):
            raise ConfigError(f"the output {display_uri(text)} is no folder and no s3:// prefix")
        self.is_local = scheme == "file"
        if self.is_local:
            self.root = os.path.abspath(os.path.expanduser(text.removeprefix("file://")))
            self.filesystem = fsspec.filesystem("file")
        else:
            self.root = text.split("://", 1)[1].strip("/")
            if not _BUCKET.fullmatch(self.root.split("/", 1)[0]):
                raise ConfigError(f"{text!r} names no bucket; an output is s3://bucket/prefix")
            self.filesystem = _s3(self.options)

    @property
    def url(self) -> str:
        """The root as a user writes it."""
        return self.root if self.is_local else f"s3://{self.root}"

    def full(self, path: str) -> str:
        """The path as :attr:`filesystem` and pyarrow with it understand it."""
        return f"{self.root}/{path}" if path else self.root

    def url_of(self, path: str) -> str:
        """The path as messages name it."""
        return f"{self.url}/{path}"

    # ---- writing

    def write_bytes(self, path: str, data: bytes, *, guard: Guard | None = None) -> None:
        """Write a whole file; an existing one is replaced at once.

        Args:
            guard: called right before every attempt to publish; what it raises ends the
                write with nothing published.

        Raises:
            UsageError: the storage refuses: no such bucket, no permission, no credentials.
            OutputUnavailableError: the storage failed in spite of retries; the local disk
                failed or is full.
        """
        if self.is_local:
            self._write_local(path, lambda file: file.write(data), guard)
        else:
            self._put(path, lambda: self.filesystem.pipe_file(self.full(path), data), guard)

    def write_lines(self, path: str, lines: Iterable[str]) -> None:
        """Write a text file line by line, with little memory. Raises as :meth:`write_bytes`."""

        def fill(file: IO[bytes]) -> None:
            for line in lines:
                file.write(line.encode())

        if self.is_local:
            self._write_local(path, fill, None)
            return
        with tempfile.NamedTemporaryFile() as copy:
            fill(copy.file)
            copy.flush()
            self._put(path, lambda: self.filesystem.put_file(copy.name, self.full(path)), None)

    def _put(self, path: str, upload: Callable[[], object], guard: Guard | None) -> None:
        def put() -> None:
            if guard is not None:
                guard()
            upload()

        try:
            self._retrying(f"writing {self.url_of(path)}", put)
        except (FileNotFoundError, PermissionError) as error:
            raise UsageError(
                f"cannot write {self.url_of(path)}: {_reason(error)}. Check that the bucket "
                "exists, that the credentials may write to it, and the endpoint URL"
            ) from error

    def _write_local(
        self, path: str, fill: Callable[[IO[bytes]], object], guard: Guard | None
    ) -> None:
        target = Path(self.full(path))
        temporary = Path(self.full(_TEMPORARY)) / f"{secrets.token_hex(8)}.tmp"
        try:
            temporary.parent.mkdir(parents=True, exist_ok=True)
            target.parent.mkdir(parents=True, exist_ok=True)
        except (PermissionError, FileExistsError, NotADirectoryError) as error:
            raise UsageError(f"cannot write to {self.url}: {_reason(error)}") from error
        try:
            with temporary.open("wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            if guard is not None:
                guard()
            os.replace(temporary, target)
            # A rename survives a power cut only when the folder is on disk too.
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except BaseException as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise OutputUnavailableError(
                    f"cannot write {self.url_of(path)}: {_reason(error)}"
                ) from error
            raise

    def write_table(
        self,
        path: str,
        table: pa.Table,
        *,
        guard: Guard | None = None,
        row_group_size: int | None = None,
    ) -> None:
        """Write a Parquet file (zstd). Raises as :meth:`write_bytes` does."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", row_group_size=row_group_size)
        self.write_bytes(path, sink.getvalue().to_pybytes(), guard=guard)

    def delete(self, path: str) -> None:
        """Delete a file; one that is not there is no error."""
        if self.is_local:
            Path(self.full(path)).unlink(missing_ok=True)
            return
        try:
            self._retrying(
                f"deleting {self.url_of(path)}",
                lambda: self.filesystem.rm_file(self.full(path)),
            )
        except FileNotFoundError:
            return

    def sweep(self) -> int:
        """Delete what killed writers left unfinished an hour ago or more; how many files."""
        if not self.is_local:
            return 0
        oldest = time.time() - _TEMPORARY_AGE_SEC
        left = [entry for entry in self.list(_TEMPORARY) if entry.modified < oldest]
        for entry in left:
            self.delete(entry.path)
        return len(left)

    # ---- reading

    def read_bytes(self, path: str) -> bytes:
        """A whole file.

        Raises:
            FileNotFoundError, PermissionError, OutputUnavailableError: as they say.
        """
        if self.is_local:
            return Path(self.full(path)).read_bytes()
        return self._retrying(f"reading {self.url_of(path)}", lambda: self._read_once(path, None))

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        if self.is_local:
            return Path(self.full(path)).is_file()

        # Not isfile(): it takes a storage that fails for a file that is not there.
        def ask() -> bool:
            return bool(self.filesystem.info(self.full(path))["type"] == "file")

        try:
            return self._retrying(f"looking for {self.url_of(path)}", ask)
        except FileNotFoundError:
            return False

    def list(self, folder: str, *, suffix: str = "") -> Iterator[Entry]:
        """Every file below ``folder`` whose name ends in ``suffix``, sorted by path.

        A folder that is not there has no files.

        Raises:
            UsageError: the storage refuses.
            OutputUnavailableError: the storage failed in spite of retries.
        """
        full = self.full(folder)
        try:
            found = self._list_local(full) if self.is_local else self._list_s3(full)
        except FileNotFoundError:
            return
        except PermissionError as error:
            raise UsageError(f"cannot list {self.url_of(folder)}: {_reason(error)}") from error
        for name in sorted(found):
            if name.endswith(suffix) and name.startswith(full + "/"):
                size, modified = found[name]
                yield Entry(path=name[len(self.root) + 1 :], size=size, modified=modified)

    def _list_local(self, top: str) -> dict[str, tuple[int, float]]:
        def fail(error: OSError) -> None:
            # A folder that cannot be read must not look like an empty one: what it holds would
            # be captioned again.
            if isinstance(error, PermissionError) or not os.path.exists(top):
                raise error
            raise OutputUnavailableError(f"cannot list {top}: {_reason(error)}") from error

        found = {}
        for parent, _folders, names in os.walk(top, onerror=fail):
            for name in names:
                path = os.path.join(parent, name)
                with contextlib.suppress(FileNotFoundError):  # deleted in this moment
                    status = os.stat(path)
                    found[path] = status.st_size, status.st_mtime
        return found

    def _list_s3(self, top: str) -> dict[str, tuple[int, float]]:
        found: dict[str, dict[str, Any]] = self._retrying(
            f"listing s3://{top}", lambda: self.filesystem.find(top, detail=True)
        )
        return {
            name: (info["size"], info["LastModified"].timestamp()) for name, info in found.items()
        }

    def open_parquet(self, path: str, *, size: int) -> pq.ParquetFile:
        """A Parquet file of ``size`` bytes, of which only what is asked for is fetched.

        Raises:
            pa.ArrowException, OSError: not a Parquet file.
            OutputUnavailableError: the storage failed in spite of retries.
        """
        if self.is_local:
            return pq.ParquetFile(self.full(path))
        if size <= _WHOLE_READ_BYTES:
            return pq.ParquetFile(pa.BufferReader(self._read_range(path, 0, size)))
        ranges = range_file(partial(self._read_range, path), size=size)
        source = pa.PythonFile(ranges, mode="r")
        return pq.ParquetFile(source, pre_buffer=True)

    def read_table(self, entry: Entry, columns: Sequence[str] | None = None) -> pa.Table:
        """The named columns of a Parquet file (None: all). Raises as :meth:`open_parquet`."""
        with self.open_parquet(entry.path, size=entry.size) as file:
            return file.read(columns=None if columns is None else [*columns])

    def _read_range(self, path: str, start: int, stop: int) -> bytes:
        what = f"reading {self.url_of(path)}"
        return self._retrying(what, lambda: self._read_once(path, (start, stop)))

    def _read_once(self, path: str, wanted: tuple[int, int] | None) -> bytes:
        """Bytes from start to stop, or all; never fewer, where an answer was cut short."""
        full = self.full(path)
        # Asked for anew in each attempt, as the file may be replaced by one of another size.
        start, stop = wanted or (0, int(self.filesystem.size(full)))
        if stop <= start:
            return b""
        data = bytes(self.filesystem.cat_file(full, start=start, end=stop))
        if len(data) != stop - start:
            raise OSError(f"{len(data)} bytes came instead of {stop - start}")
        return data

    # ---- retries

    def _retrying(self, what: str, call: Callable[[], _T]) -> _T:
        """``call()``, again with a growing pause while the storage fails in passing."""
        for attempt in range(self.options.retries + 1):
            try:
                return call()
            except NoCredentialsError as error:
                raise UsageError(
                    f"{what} failed: no credentials. They come by the standard AWS chain "
                    "(environment, ~/.aws, instance role)"
                ) from error
            except _PERMANENT:
                raise
            except Exception as error:
                if self.is_local:
                    raise
                if attempt == self.options.retries:
                    raise OutputUnavailableError(
                        f"{what} failed {attempt + 1} times, the last time with {_reason(error)}"
                    ) from error
                pause = min(0.1 * 2**attempt, 10.0) * random.uniform(0.5, 1.5)
                logger.info("%s: %s; again in %.1f s", what, _reason(error), pause)
                time.sleep(pause)
        raise AssertionError("unreachable")


def _s3(options: StorageOptions) -> fsspec.AbstractFileSystem:
    return fsspec.filesystem(
        "s3",
        anon=options.anonymous,
        endpoint_url=options.endpoint_url,
        client_kwargs={"region_name": options.region} if options.region else None,
        config_kwargs={
            "connect_timeout": options.timeout_sec,
            "read_timeout": options.timeout_sec,
            # One layer of retries, the store's own: nested ones multiply the waiting.
            "retries": {"mode": "standard", "total_max_attempts": 1},
        },
        # Other processes write here too (an earlier run, a contender for the lock).
        use_listings_cache=False,
    )


def _reason(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
