"""The output folder, local or in an object storage: whole files that appear at once or not at all.

Paths are relative to the root and use forward slashes. Readers of the tables never see a
file that is being written: locally it grows under ``runs/_tmp`` and is renamed, elsewhere
an object appears when its upload is complete.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.storage.access import client_of
from actors.storage.client import Client
from actors.storage.range_reader import MAX_REQUEST_BYTES, RangeReader
from actors.storage.uris import (
    OBJECT_SCHEMES,
    S3_SCHEMES,
    S3Address,
    display_uri,
    local_path,
    scheme_of,
)
from rayjob.output.disk import files_below, move_once, reason
from rayjob.output.layout import ShardName
from schemas.errors import (
    ConfigError,
    LockLostError,
    NotFoundError,
    OpenError,
    OutputUnavailableError,
    StorageUnavailableError,
    UsageError,
)
from schemas.media import StorageOptions

logger = logging.getLogger(__name__)

Guard = Callable[[], None]

_TEMPORARY_AGE_SEC = 3600.0
_WRITTEN_UNDER_THE_LOCK = ("captions", "fused", "failures", "exports")

_HALF_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/(?!/)")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of a listing: path from the root, bytes, and the storage's own time of the
    last change in seconds since 1970.
    """

    path: str
    size: int
    modified: float

    @property
    def name(self) -> ShardName:
        """What the name tells, of a shard."""
        return ShardName.parse(self.path)


class TableStore:
    """Reads, lists and atomically writes files under one root.

    Args:
        root: a local folder (made when first written to), ``s3://bucket/prefix``, the same with
            ``gs://``, or ``az://container/prefix``.
        options: how to reach S3; every request is tried ``1 + retries`` times.

    Raises:
        ConfigError: the root is neither.
    """

    def __init__(self, root: str | os.PathLike[str], options: StorageOptions | None = None) -> None:
        self.options = options or StorageOptions()
        self.temporary = "runs/_tmp"  # folder of files that grow, on a local disk
        text = os.fspath(root)
        path = local_path(text)
        self.is_local = path is not None
        scheme = scheme_of(text)
        is_elsewhere = path is None and scheme not in (*S3_SCHEMES, *OBJECT_SCHEMES)
        if is_elsewhere or _HALF_SCHEME.match(text):
            raise ConfigError(
                f"the output {display_uri(text)} is neither a folder nor an s3://, gs:// or az:// "
                "prefix"
            )
        if path is not None:
            self.root = os.path.abspath(os.path.expanduser(path))
            return
        if scheme in S3_SCHEMES:
            try:
                at = S3Address.parse(text)
            except OpenError as error:
                raise ConfigError(f"the output cannot be used: {error}") from None
            text = f"s3://{at.bucket}/{at.key}"
        self.root = text.partition("://")[2].strip("/")
        if not self.root:
            raise ConfigError(f"the output {text} names no bucket; write {scheme}://bucket/prefix")
        self._scheme = "s3" if scheme in S3_SCHEMES else scheme

    @property
    def url(self) -> str:
        """The root as a user writes it."""
        return self.root if self.is_local else f"{self._scheme}://{self.root}"

    def full(self, path: str) -> str:
        """The path as file systems name it: local, or bucket and key."""
        return f"{self.root}/{path}" if path else self.root

    def url_of(self, path: str) -> str:
        """The path as messages name it."""
        return f"{self.url}/{path}"

    # ---- writing

    def write_bytes(
        self,
        path: str,
        data: bytes,
        *,
        guard: Guard | None = None,
        once: bool = False,
        private: bool = False,
    ) -> None:
        """Write a whole file; an existing one is replaced at once.

        Args:
            guard: called right before every attempt to publish; what it raises ends the
                write with nothing published.
            once: no file is there yet, and none is ever replaced (on S3 where the server knows
                ``If-None-Match``), however late the write arrives.
            private: on a local disk nobody but the owner may read it.

        Raises:
            LockLostError: another process wrote a file there that was to be written once.
            UsageError: the storage refuses: no such bucket, no permission, no credentials.
            OutputUnavailableError: the storage failed in spite of retries; the local disk
                failed or is full.
        """
        try:
            if self.is_local:
                self._write_local(
                    path, lambda file: file.write(data), guard, once=once, private=private
                )
                return
            with self._writing(path):
                self._client.write(self.url_of(path), data, guard=guard, once=once)
        except FileExistsError:
            # An earlier attempt, whose answer was lost, wrote these very bytes.
            if self.read_bytes(path) != data:
                raise LockLostError(
                    f"{self.url_of(path)} was written by another process: a run that took the "
                    "output over is at work, or was"
                ) from None

    def write_lines(self, path: str, lines: Iterable[str]) -> None:
        """Write a text file line by line, with little memory. Raises as :meth:`write_bytes`."""
        self.write_file(path, lambda file: file.writelines(line.encode() for line in lines))

    def write_file(self, path: str, fill: Callable[[IO[bytes]], object]) -> None:
        """Write a file with little memory. Raises as :meth:`write_bytes`.

        Args:
            fill: writes its bytes.
        """
        if self.is_local:
            self._write_local(path, fill)
            return
        with tempfile.NamedTemporaryFile() as copy, self._writing(path):
            fill(copy.file)
            copy.flush()
            self._client.upload(self.url_of(path), copy.name)

    @contextlib.contextmanager
    def _writing(self, path: str) -> Iterator[None]:
        try:
            with _as_output(f"cannot write {self.url_of(path)}"):
                yield
        except FileNotFoundError as error:
            raise UsageError(f"cannot write {self.url_of(path)}: {error}") from error

    def _write_local(
        self,
        path: str,
        fill: Callable[[IO[bytes]], object],
        guard: Guard | None = None,
        *,
        once: bool = False,
        private: bool = False,
    ) -> None:
        target = Path(self.full(path))
        temporary = Path(self.full(self.temporary)) / f"{secrets.token_hex(8)}.tmp"
        try:
            temporary.parent.mkdir(parents=True, exist_ok=True)
            target.parent.mkdir(parents=True, exist_ok=True)
        except (PermissionError, FileExistsError, NotADirectoryError) as error:
            raise UsageError(f"cannot write to {self.url}: {reason(error)}") from error
        try:
            with temporary.open("xb") as file:
                if private:
                    temporary.chmod(0o600)
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            if guard is not None:
                guard()
            if once:
                move_once(temporary, target)
            else:
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
            if isinstance(error, OSError) and not (once and isinstance(error, FileExistsError)):
                raise OutputUnavailableError(
                    f"cannot write {self.url_of(path)}: {reason(error)}"
                ) from error
            raise

    def write_table(
        self,
        path: str,
        table: pa.Table,
        *,
        row_group_size: int | None = None,
        **how: Any,
    ) -> None:
        """Write a Parquet file (zstd), otherwise as :meth:`write_bytes` does."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", row_group_size=row_group_size)
        self.write_bytes(path, sink.getvalue().to_pybytes(), **how)

    def delete(self, path: str) -> None:
        """Delete a file; one that is not there is not an error."""
        if self.is_local:
            Path(self.full(path)).unlink(missing_ok=True)
            return
        with _as_output(f"cannot delete {self.url_of(path)}"):
            self._client.delete(self.url_of(path))

    def sweep(self) -> None:
        """Delete what killed writers left unfinished; to be called by the one that is alive.

        On S3 uploads in parts are ended, so that none lands later; on a local disk files go
        that are an hour old, as other commands write there too.
        """
        if not self.is_local:
            try:
                for folder in _WRITTEN_UNDER_THE_LOCK:
                    self._client.abort_uploads(self.url_of(f"{folder}/"))
            except OpenError as error:
                # It takes a permission that nothing else takes, and some servers lack it.
                logger.info("uploads of dead runs are not looked for: %s", error)
            return
        oldest = time.time() - _TEMPORARY_AGE_SEC
        for entry in list(self.list(self.temporary)):
            if entry.modified < oldest:
                self.delete(entry.path)

    # ---- reading

    def read_bytes(self, path: str) -> bytes:
        """A whole file.

        Raises:
            FileNotFoundError: there is no such file.
            PermissionError, UsageError: the disk, or S3, refuses.
            OutputUnavailableError: the storage failed in spite of retries.
        """
        if self.is_local:
            return Path(self.full(path)).read_bytes()
        with _as_output(f"cannot read {self.url_of(path)}"):
            return self._client.read_whole(self.url_of(path))

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        if self.is_local:
            return Path(self.full(path)).is_file()
        try:
            with _as_output(f"cannot look for {self.url_of(path)}"):
                self._client.head(self.url_of(path))
        except FileNotFoundError:
            return False
        return True

    def list(self, folder: str, *, suffix: str = "") -> Iterator[Entry]:
        """Every file below ``folder`` whose name ends in ``suffix``, sorted by path.

        A folder that is not there has no files.

        Raises:
            UsageError: the storage refuses.
            OutputUnavailableError: the storage failed in spite of retries.
        """
        try:
            if self.is_local:
                found = files_below(self.full(folder))
            else:
                with _as_output(f"cannot list {self.url_of(folder)}"):
                    found = self._list_remote(folder)
        except FileNotFoundError:
            return
        except PermissionError as error:
            raise UsageError(f"cannot list {self.url_of(folder)}: {reason(error)}") from error
        for name in sorted(found):
            if name.endswith(suffix):
                size, modified = found[name]
                yield Entry(path=name[len(self.root) + 1 :], size=size, modified=modified)

    def _list_remote(self, folder: str) -> dict[str, tuple[int, float]]:
        return {
            each.uri.partition("://")[2]: (each.size, each.modified)
            for each in self._client.below(self.url_of(folder).rstrip("/"))
        }

    def open_parquet(self, path: str, *, size: int | None = None) -> pq.ParquetFile:
        """A Parquet file, of which only what is asked for is fetched.

        Args:
            size: its bytes where they are known, which saves a request.

        Raises:
            pa.ArrowException, OSError: not a Parquet file.
            OutputUnavailableError: the storage failed in spite of retries.
        """
        if self.is_local:
            return pq.ParquetFile(self.full(path))
        url, problem = self.url_of(path), f"cannot read {self.url_of(path)}"

        def fetch(start: int, stop: int) -> bytes:
            with _as_output(problem):
                return self._client.read(url, start, stop)

        if size is None:
            with _as_output(problem):
                size = self._client.head(url).size
        reader = RangeReader(fetch, size=size, name=path, cache_bytes=MAX_REQUEST_BYTES)
        # Whole reads, but no buffer: the reader has one.
        return pq.ParquetFile(io.BufferedReader(reader, buffer_size=1), pre_buffer=True)

    def read_table(self, entry: Entry, columns: Sequence[str] | None = None) -> pa.Table:
        """The named columns of a Parquet file (None: all). Raises as :meth:`open_parquet`."""
        with self.open_parquet(entry.path, size=entry.size) as file:
            return file.read(columns=None if columns is None else [*columns])

    @property
    def _client(self) -> Client:
        # Not an attribute: a store travels to the workers.
        return client_of(self._scheme, self.options)


@contextlib.contextmanager
def _as_output(problem: str) -> Iterator[None]:
    """Errors of the storage as those of an output; FileNotFoundError where nothing is there."""
    try:
        yield
    except NotFoundError as error:
        raise FileNotFoundError(f"{error}") from error
    except StorageUnavailableError as error:
        raise OutputUnavailableError(f"{problem}: {error}") from error
    except OpenError as error:
        raise UsageError(f"{problem}: {error}") from error
