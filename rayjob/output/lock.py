"""The run lock: one run at a time writes to an output.

S3 has no operation that every server enforces and that only one of two writers can win.
So each contender puts up a file of its own and then lists all of them. A contender owns
the output when such a listing, made after its file was up, shows no other live one. Of two
contenders the one whose file came up last sees the other's: they can never both own the
output, whatever their clocks say. The names settle who gives way, so that of contenders
that see each other one goes on.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from rayjob.output.commits import claim
from rayjob.output.store import Entry, TableStore
from schemas.errors import LockLostError, OutputLockedError, RayjobError

logger = logging.getLogger(__name__)

_FOLDER = "runs/_locks"
_CLOCK_GRAIN_SEC = 2.0
"""Storage clocks count whole seconds, rounded either way."""


@dataclass(frozen=True, kw_only=True)
class _Holder:
    """Who put a lock file up.

    Attributes:
        boot, namespace: identity of the running kernel and of the process numbers in it;
            only where both agree can ``pid`` be looked up.
        started: start time of the process in the kernel's ticks, as numbers are reused.
        owner: whether it owns the output, or still contends for it.
        since: when it began, UTC, ISO 8601.
    """

    run_id: str
    host: str
    boot: str
    namespace: str
    pid: int
    started: str
    owner: bool
    since: str

    @classmethod
    def current(cls, run_id: str) -> _Holder:
        return cls(
            run_id=run_id,
            host=socket.gethostname(),
            boot=_read_text("/proc/sys/kernel/random/boot_id"),
            namespace=_pid_namespace(),
            pid=os.getpid(),
            started=_start_time(os.getpid()) or "",
            owner=False,
            since=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    @classmethod
    def parse(cls, told: bytes) -> _Holder:
        """What a lock file tells; of a damaged one, an owner that only its heartbeat shows."""
        try:
            holder = cls(**json.loads(told))
            if all(
                isinstance(value, type(vars(_UNKNOWN)[key])) for key, value in vars(holder).items()
            ):
                return holder
        except (ValueError, TypeError, RecursionError):
            pass
        return _UNKNOWN

    def is_dead(self, me: _Holder) -> bool | None:
        """Whether its process is gone; None where that cannot be told from here."""
        if (self.host, self.boot, self.namespace) != (me.host, me.boot, me.namespace):
            return None
        return _start_time(self.pid) != self.started


_UNKNOWN = _Holder(
    run_id="unknown", host="unknown", boot="", namespace="", pid=0, started="", owner=True,
    since="an unknown time",
)  # fmt: skip


class RunLock:
    """Owns an output for one run; a context manager.

    A run that was killed leaves its file behind. It is ignored at once where this machine
    can see that the process is gone, and elsewhere when its heartbeat is older than
    ``ttl`` by the storage's own clock, or stays away for as long by this machine's (of a file that
    is dated in the future). A file that cannot be read counts as that of a run elsewhere.

    Args:
        ttl: seconds without a heartbeat after which an owner counts as dead.
        interval: seconds between heartbeats; by default a sixth of ``ttl``.
        is_alive: whether the run goes on; while it does not, there is no heartbeat.

    Attributes:
        epoch: under which this run writes now, see :mod:`rayjob.output.commits`.

    Raises:
        OutputLockedError: on entering: another run owns the output, or is about to.
    """

    def __init__(
        self,
        store: TableStore,
        run_id: str,
        *,
        ttl: float = 60.0,
        interval: float | None = None,
        is_alive: Callable[[], bool] = lambda: True,
    ) -> None:
        self._is_alive = is_alive
        self._store = store
        self._ttl = ttl
        self._interval = ttl / 6 if interval is None else interval
        self.epoch = 0
        self._me = _Holder.current(run_id)
        self._path = f"{_FOLDER}/{time.time_ns()}-{secrets.token_hex(6)}.json"
        self._beat_at = 0.0
        self._lost: str | None = None
        self._stop = threading.Event()
        self._mutex = threading.Lock()
        self._thread: threading.Thread | None = None
        self._handles_sigterm = False

    def __enter__(self) -> RunLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Own the output, or raise OutputLockedError with who does."""
        self._handle_sigterm()
        try:
            self._put()
            self._contend()
            self._me = replace(self._me, owner=True)
            self._put()
            self._thread = threading.Thread(target=self._beat, name="run-lock", daemon=True)
            self._thread.start()
            self.advance()
        except BaseException:
            self.release()
            raise

    def advance(self) -> None:
        """Go on in a new epoch. Raises LockLostError where the output is not this run's."""
        self.epoch = claim(self._store, guard=self.check)

    def release(self) -> None:
        """Give the output free. A failure of the storage here only costs the next run time."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=self._interval + 5)
            self._thread = None
        try:
            self._store.delete(self._path)
        except (RayjobError, OSError) as error:
            logger.warning("the lock %s stays behind: %s", self._store.url_of(self._path), error)
        if self._handles_sigterm and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._handles_sigterm = False

    def check(self) -> None:
        """Make sure that this run owns the output now.

        Looks at the storage only when the last heartbeat is getting old.

        Raises:
            LockLostError: the lock was lost.
        """
        if self._lost is None and _clock() - self._beat_at > self._ttl / 2:
            self._renew()
        if self._lost is not None:
            raise LockLostError(
                f"this run lost its lock on {self._store.url}: {self._lost}. What it had not "
                "written yet is not lost: the same command again captions it"
            )

    # ---- becoming the owner

    def _contend(self) -> None:
        # Path -> the file's time when it was seen first, and when that was by our own clock.
        first_seen: dict[str, tuple[float, float]] = {}
        patience = self._ttl + _CLOCK_GRAIN_SEC
        deadline = _clock() + patience + 4 * self._interval
        while True:
            rivals, now = self._rivals()
            if not rivals:
                return
            undecided: list[_Holder] = []
            for entry, holder in rivals:
                dead = holder.is_dead(self._me)
                if entry.path not in first_seen and dead is None and holder.owner:
                    logger.info("waiting for a sign of life from %s", _who(holder))
                modified, since = first_seen.setdefault(entry.path, (entry.modified, _clock()))
                moved = modified != entry.modified
                # The storage's clock tells at once; ours also of a file dated in the future.
                silent = (
                    now - entry.modified if moved else max(now - entry.modified, _clock() - since)
                )
                if dead or silent > patience:
                    logger.info("removing the lock of a run that is dead: %s", _who(holder))
                    self._store.delete(entry.path)
                    continue
                # Of contenders the first goes before, if it lives: one that died in this moment
                # must not hold up the next run.
                goes_before = holder.owner or entry.path < self._path
                if goes_before and (dead is False or moved):
                    raise self._locked(holder)
                undecided.append(holder)
            if undecided:
                if _clock() > deadline:
                    raise self._locked(undecided[0])
                # Contenders give way within moments; a silent owner takes its time.
                contended = any(not holder.owner for holder in undecided)
                time.sleep(0.05 if contended else min(0.5, self._interval / 10))
            # A fresh file of our own tells the storage's time at the next listing.
            self._put()

    def _rivals(self) -> tuple[list[tuple[Entry, _Holder]], float]:
        """The other lock files, and the storage's time."""
        rivals, now = [], None
        for entry in self._store.list(_FOLDER, suffix=".json"):
            if entry.path == self._path:
                now = entry.modified
                continue
            try:
                holder = _Holder.parse(self._store.read_bytes(entry.path))
            except FileNotFoundError:
                continue  # it gave way in this moment
            rivals.append((entry, holder))
        if now is None:
            raise OutputLockedError(
                f"the lock on {self._store.url} was removed while it was taken; start again"
            )
        return rivals, now

    def _locked(self, holder: _Holder) -> OutputLockedError:
        return OutputLockedError(
            f"{self._store.url} is in use by {_who(holder)} since {holder.since}. Wait for it "
            "or stop it, or choose another --output. If it was killed, its lock ends by itself "
            f"{self._ttl:.0f} s after its last sign of life"
        )

    # ---- staying the owner

    def _put(self) -> None:
        # The time before the request, so that this run counts itself as dead no later
        # than others do.
        started = _clock()
        self._store.write_bytes(self._path, json.dumps(asdict(self._me)).encode())
        self._beat_at = started

    def _renew(self) -> None:
        """One heartbeat, after a look whether the lock is still there."""
        with self._mutex:
            if self._lost is not None:
                return
            silent = _clock() - self._beat_at
            if silent > self._ttl:
                # Another run may be at work by now: writing the file again could take
                # the output away from it.
                self._lost = f"it showed no sign of life for {silent:.0f} s"
                return
            if not self._store.exists(self._path):
                self._lost = "its lock file was removed"
                return
            before = self._beat_at
            self._put()
            if _clock() - before > self._ttl:
                self._lost = "its heartbeat came too late"

    def _beat(self) -> None:
        while not self._stop.wait(self._interval) and self._lost is None:
            if not self._is_alive():
                continue
            try:
                self._renew()
            except (RayjobError, OSError) as error:
                logger.warning("no heartbeat on %s: %s", self._store.url, error)

    def _handle_sigterm(self) -> None:
        """Turn SIGTERM into SystemExit, so that ``with`` blocks end in order."""
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _exit)
            self._handles_sigterm = True


def _exit(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _who(holder: _Holder) -> str:
    return f"run {holder.run_id} (process {holder.pid} on {holder.host})"


def _clock() -> float:
    """Seconds that go on while the machine sleeps, where the system counts them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _start_time(pid: int) -> str | None:
    """When a process began, in the kernel's ticks ("" where unknown); None: it is gone."""
    if not Path("/proc/self/stat").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            return ""
        return ""
    stat = _read_text(f"/proc/{pid}/stat")
    # The second field, the name in parentheses, may itself hold spaces and parentheses.
    fields = stat.rpartition(")")[2].split()
    if not fields or fields[0] in "ZX":
        return None
    return fields[19]
