"""The run lock: one owner at a time, whatever happens to the others."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rayjob.output.lock import RunLock, _start_time
from rayjob.output.store import TableStore
from schemas.errors import LockLostError, OutputLockedError
from tests.support.outputs import KINDS, child, children, files, open_store

LOCKS = "runs/_locks"


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TableStore:
    return open_store(request.param, request, tmp_path)


@pytest.fixture
def local(tmp_path: Path) -> TableStore:
    return TableStore(tmp_path)


def from_elsewhere(lock: RunLock) -> RunLock:
    """As if it ran on another machine, whose processes cannot be looked up from here."""
    lock._me = replace(lock._me, host="elsewhere", boot="another")
    return lock


def copy_of(store: TableStore) -> tuple[str, Any]:
    return (store.root if store.is_local else store.url), store.options


def test_one_owner_and_a_message_about_it(store: TableStore) -> None:
    with RunLock(store, "first") as lock:
        lock.check()
        with pytest.raises(OutputLockedError) as caught:
            RunLock(store, "second").acquire()
        message = str(caught.value)
        for part in (store.url, "first", str(os.getpid()), "since 20", "another --output"):
            assert part in message
        lock.check()
        assert len(files(store, LOCKS)) == 1
    assert files(store, LOCKS) == []
    with RunLock(store, "second"):
        pass


def test_released_after_an_exception(local: TableStore) -> None:
    with pytest.raises(RuntimeError), RunLock(local, "r1"):
        raise RuntimeError
    assert files(local, LOCKS) == []


def hold(root: str, options: Any, run_id: str, messages: Any, ttl: float, elsewhere: bool) -> None:
    # Shells start background jobs with Ctrl-C ignored, and that is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    lock = RunLock(TableStore(root, options), run_id, ttl=ttl)
    if elsewhere:
        from_elsewhere(lock)
    with lock:
        messages.put("held")
        while True:
            time.sleep(0.05)
            try:
                lock.check()
            except OutputLockedError as error:
                messages.put(str(error))
                return


def start_holder(store: TableStore, *, ttl: float = 60.0, elsewhere: bool = False) -> Any:
    messages = children.Queue()
    process = child(hold, *copy_of(store), "holder", messages, ttl, elsewhere)
    assert messages.get(timeout=30) == "held"
    return process, messages


def test_a_killed_run_on_this_machine_is_no_obstacle(store: TableStore) -> None:
    process, _ = start_holder(store)
    with pytest.raises(OutputLockedError, match="holder"):
        RunLock(store, "next").acquire()
    process.kill()
    process.join()
    began = time.monotonic()
    with RunLock(store, "next"):
        assert time.monotonic() - began < 20, "it waits for nothing"
        assert len(files(store, LOCKS)) == 1


def leave_lock_of(store: TableStore, **changes: Any) -> None:
    """A lock file as this process would make it, except for some facts."""
    with RunLock(store, "gone"):
        (path,) = files(store, LOCKS)
        told = json.loads(store.read_bytes(path))
    store.write_bytes(path, json.dumps({**told, **changes}).encode())


def test_a_number_that_another_process_got_is_no_life(local: TableStore) -> None:
    leave_lock_of(local, started="1")
    with RunLock(local, "r2"):
        pass


def test_a_process_that_nobody_reaped_is_dead(local: TableStore) -> None:
    process = subprocess.Popen(["sleep", "100"])
    leave_lock_of(local, pid=process.pid, started=_start_time(process.pid))
    with pytest.raises(OutputLockedError, match="gone"):
        RunLock(local, "next").acquire()
    process.kill()
    while _start_time(process.pid) is not None:
        time.sleep(0.01)
    # Not waited for: the number still belongs to a zombie, which ps would show.
    with RunLock(local, "next"):
        pass
    process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_released_on_signals(local: TableStore, number: signal.Signals) -> None:
    process, _ = start_holder(local)
    time.sleep(0.2)  # it is past the message, and waits
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode != 0
    assert files(local, LOCKS) == []


@pytest.mark.parametrize("kind", ["local", "moto"])
def test_a_run_elsewhere_is_waited_for(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store = open_store(kind, request, tmp_path)
    process, _ = start_holder(store, ttl=1.5, elsewhere=True)
    with pytest.raises(OutputLockedError, match="holder"):  # its heartbeat goes on
        RunLock(store, "next", ttl=1.5).acquire()
    process.kill()
    process.join()
    began = time.monotonic()
    with RunLock(store, "next", ttl=1.5):  # its heartbeat stays away
        assert 1 < time.monotonic() - began < 10


def test_a_run_that_was_suspended_knows_it_lost(local: TableStore) -> None:
    process, messages = start_holder(local, ttl=1.0, elsewhere=True)
    os.kill(process.pid, signal.SIGSTOP)
    with RunLock(local, "next", ttl=1.0) as lock:
        os.kill(process.pid, signal.SIGCONT)
        message = messages.get(timeout=30)
        assert "lost its lock" in message
        # The second where the heartbeat itself was under way.
        assert "sign of life" in message or "heartbeat came too late" in message
        process.join()
        time.sleep(0.5)
        lock.check()  # the one that woke up did not disturb the new owner
        assert len(files(local, LOCKS)) == 1


def test_a_lock_whose_file_was_removed_is_lost(store: TableStore) -> None:
    with RunLock(store, "r1", ttl=1.0, interval=0.05) as lock:
        (path,) = files(store, LOCKS)
        deadline = time.monotonic() + 30
        while lock._lost is None and time.monotonic() < deadline:
            store.delete(path)  # again, as a heartbeat that had just looked writes it once more
            time.sleep(0.05)
        with pytest.raises(OutputLockedError, match="removed"):
            lock.check()
        assert files(store, LOCKS) == []


def test_a_storage_that_fails_for_a_while_does_not_cost_the_lock(
    request: pytest.FixtureRequest, tmp_path: Path, fault_proxy: Any
) -> None:
    direct = open_store("gateway", request, tmp_path)
    proxy = fault_proxy(direct.options.endpoint_url)
    options = direct.options.model_copy(update={"endpoint_url": proxy.endpoint_url, "retries": 1})
    with RunLock(TableStore(direct.url, options), "r1", interval=0.05) as lock:
        for kind in ("slow_down", "reset"):
            proxy.break_requests({kind: 1.0})
            deadline = time.monotonic() + 20
            while proxy.counts[kind] < 12 and time.monotonic() < deadline:
                time.sleep(0.05)
            proxy.break_requests({})
        time.sleep(0.3)
        lock.check()
        assert len(files(direct, LOCKS)) == 1


def test_check_asks_the_storage_when_the_heartbeat_is_late(local: TableStore) -> None:
    with RunLock(local, "r1", ttl=2.0, interval=100.0) as lock:
        (path,) = files(local, LOCKS)
        local.delete(path)
        lock.check()  # the last heartbeat is young
        time.sleep(1.1)
        with pytest.raises(OutputLockedError, match="removed"):
            lock.check()


def test_a_heartbeat_that_arrives_too_late_does_not_count(local: TableStore) -> None:
    class Slow(TableStore):
        pause = 0.0

        def write_bytes(self, path: str, data: bytes, **options: Any) -> None:
            time.sleep(self.pause)
            super().write_bytes(path, data, **options)

    slow = Slow(local.root)
    with RunLock(slow, "r1", ttl=1.0, interval=100.0) as lock:
        time.sleep(0.6)
        slow.pause = 0.6
        with pytest.raises(OutputLockedError, match="too late"):
            lock.check()
        slow.pause = 0.0


@pytest.mark.parametrize(
    "told", [b"", b"{}", b"[" * 100_000, b"\xff\x00", b'{"run_id": 3}', b"null"]
)
def test_a_damaged_lock_is_taken_over(local: TableStore, told: bytes) -> None:
    """By its age, as one of a machine that cannot be looked at."""
    path = f"{LOCKS}/1.json"
    local.write_bytes(path, told)
    long_ago = time.time() - 100
    os.utime(local.full(path), (long_ago, long_ago))
    with RunLock(local, "r1"):
        assert len(files(local, LOCKS)) == 1


def test_a_lock_that_cannot_be_read_but_beats_is_respected(local: TableStore) -> None:
    path = f"{LOCKS}/1.json"
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(0.1):
            local.write_bytes(path, b'{"of": "a later version"}')

    local.write_bytes(path, b"{}")
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(OutputLockedError, match="unknown"):
            RunLock(local, "r1", ttl=1.0).acquire()
    finally:
        stop.set()
        thread.join()


def test_a_lock_dated_in_the_future_ends_by_our_own_clock(local: TableStore) -> None:
    leave_lock_of(local, host="elsewhere", boot="another")
    (path,) = files(local, LOCKS)
    next_year = time.time() + 365 * 86400
    os.utime(local.full(path), (next_year, next_year))
    began = time.monotonic()
    with RunLock(local, "r1", ttl=0.5):
        assert 2 < time.monotonic() - began < 10


CONTENDERS = 3


def race(root: str, options: Any, rounds: int, barrier: Any, outcomes: Any) -> None:
    store = TableStore(root, options)
    for number in range(rounds):
        lock = RunLock(store, f"r{os.getpid()}")
        barrier.wait(30)
        try:
            lock.acquire()
            won = True
        except OutputLockedError:
            won = False
        outcomes.put((number, won))
        barrier.wait(30)
        if won:
            lock.release()
        barrier.wait(30)


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_one_of_several_simultaneous_starts_wins(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store = open_store(kind, request, tmp_path)
    rounds = 8 if kind == "gateway" else 20
    barrier = children.Barrier(CONTENDERS)
    outcomes = children.Queue()
    processes = [child(race, *copy_of(store), rounds, barrier, outcomes) for _ in range(CONTENDERS)]
    results = [outcomes.get(timeout=60) for _ in range(rounds * CONTENDERS)]
    for process in processes:
        process.join()
    winners = Counter(number for number, won in results if won)
    assert winners == Counter(range(rounds))
    assert files(store, LOCKS) == []


def take_turns(root: str, seconds: float, answers: Any) -> None:
    """Hold the lock as often as possible, with a file that only one process can make."""
    store, turns = TableStore(root), 0
    proof = Path(root) / "proof"
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with RunLock(store, "r") as lock:
                proof.touch(exist_ok=False)
                lock.check()
                proof.unlink()
                turns += 1
        except OutputLockedError:
            time.sleep(random.uniform(0, 0.1))
    answers.put(turns)


@pytest.mark.parametrize("lives", [True, False])
def test_a_contender_elsewhere_goes_before_if_it_lives(local: TableStore, lives: bool) -> None:
    """One that was killed while it contended does not hold up the next run for long."""
    first = from_elsewhere(RunLock(local, "first", ttl=0.5))
    first._put()
    end = threading.Event()

    def go_on() -> None:
        while not end.wait(0.2):
            first._put()

    thread = threading.Thread(target=go_on)
    if lives:
        thread.start()
    try:
        second = RunLock(local, "second", ttl=0.5)
        if lives:
            with pytest.raises(OutputLockedError, match="in use by run first"):
                second.acquire()
        else:
            with second:
                second.check()
                assert len(files(local, LOCKS)) == 1
    finally:
        end.set()
        if lives:
            thread.join()


def test_never_two_owners_at_once(local: TableStore) -> None:
    answers = children.Queue()
    processes = [child(take_turns, local.root, 2.0, answers) for _ in range(CONTENDERS)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert sum(answers.get(timeout=30) for _ in processes) > 20


def test_the_heartbeat_follows_the_run(local: TableStore) -> None:
    """A run that hangs does not keep the next one out, although its process is there."""
    is_alive = threading.Event()
    is_alive.set()
    with RunLock(local, "r1", ttl=1.0, interval=0.05, is_alive=is_alive.is_set) as lock:
        time.sleep(1.2)
        lock.check()
        is_alive.clear()
        time.sleep(1.2)
        with pytest.raises(LockLostError, match="no sign of life"):
            lock.check()


def test_a_stopped_process_on_this_machine_is_no_obstacle_for_long(local: TableStore) -> None:
    process, _ = start_holder(local, ttl=1.0)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(OutputLockedError):
            RunLock(local, "next", ttl=1.0).acquire()
        time.sleep(1.0 + 2.0 + 0.5)  # the time that storage clocks may be off included
        with RunLock(local, "next", ttl=1.0) as lock:
            lock.check()
    finally:
        process.kill()
        process.join()
