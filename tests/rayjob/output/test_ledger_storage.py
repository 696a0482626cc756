"""The ledger on storage that breaks, refuses or is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rayjob.output.ledger import Ledger
from rayjob.output.store import TableStore
from schemas.errors import OutputUnavailableError, UsageError
from tests.support.outputs import (
    OMNI,
    captioned,
    failed,
    ids_in,
    names,
    open_store,
    reconcile,
    write,
)


def test_a_storage_that_breaks_a_third_of_requests(
    request: pytest.FixtureRequest, tmp_path: Path, fault_proxy: Any
) -> None:
    direct = open_store("gateway", request, tmp_path)
    proxy = fault_proxy(direct.options.endpoint_url, seed=5)
    kinds = ("slow_down", "reset", "reset_after", "cut", "cut_quietly")
    shares = dict.fromkeys(kinds, 0.07)
    proxy.break_requests(shares)
    options = direct.options.model_copy(update={"endpoint_url": proxy.endpoint_url, "retries": 15})
    shaky = TableStore(direct.url, options)
    write(shaky, "r1", captioned(names(8)), failed(names(2, first=8), transient=True), rows=4)
    write(shaky, "r2", captioned(names(1, first=8)))
    ledger = Ledger(shaky, tables=OMNI)
    assert reconcile(ledger) == 1
    done = ledger.load(retry_failed=False)
    assert (len(done.done), len(done.attempts)) == (9, 1)
    assert ids_in(direct, "captions") == names(9)
    assert ids_in(direct, "failures") == names(1, first=9)
    assert sum(proxy.counts[each] for each in kinds) > 10


def test_a_storage_that_never_answers_is_an_error_of_the_run(
    request: pytest.FixtureRequest, tmp_path: Path, fault_proxy: Any
) -> None:
    direct = open_store("moto", request, tmp_path)
    proxy = fault_proxy(direct.options.endpoint_url)
    proxy.break_requests({"reset": 1.0})
    options = direct.options.model_copy(update={"endpoint_url": proxy.endpoint_url, "retries": 1})
    dead = TableStore(direct.url, options)
    for use in (
        lambda: Ledger(dead, tables=OMNI).load(retry_failed=False),
        lambda: dead.write_bytes("a", b""),
        lambda: dead.exists("a"),
    ):
        with pytest.raises(OutputUnavailableError, match="no proper answer after 2 attempts"):
            use()


def test_a_storage_that_refuses_is_an_error_of_usage(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store = open_store("gateway", request, tmp_path)
    with pytest.raises(UsageError, match="there is no bucket"):
        TableStore("s3://there-is-none/out", store.options).write_bytes("a", b"")
    stranger = TableStore(store.url, store.options.model_copy(update={"anonymous": True}))
    with pytest.raises(UsageError, match="cannot write"):
        stranger.write_bytes("a", b"")
    with pytest.raises(UsageError, match="cannot list"):
        Ledger(stranger, tables=OMNI).load(retry_failed=False)


def test_an_output_without_credentials_is_an_error_of_usage(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    new_clients: None,
) -> None:
    store = open_store("moto", request, tmp_path)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(UsageError, match="no credentials"):
        store.write_bytes("a", b"")
