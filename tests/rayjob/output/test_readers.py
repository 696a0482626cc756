"""A plain read of the tables just works, with the tools people use and their defaults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import s3fs
from pyarrow import fs

from rayjob.output.ledger import Ledger
from rayjob.output.shards import ShardSink
from rayjob.output.store import TableStore
from schemas.config import ShardConfig
from schemas.tables import CAPTIONS, FAILURES
from tests.support.outputs import (
    KINDS,
    NO_LOCK,
    OMNI,
    captioned,
    failed,
    names,
    open_store,
    reconcile,
    tables_of,
    together,
)

PARTITIONS = ["recipe", "run_id"]


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TableStore:
    """Two recipes, one of them named by module and object; two runs; failures; leftovers."""
    store = open_store(request.param, request, tmp_path)
    for recipe, run_id, first in (
        ("omni", "r1", 0),
        ("omni", "run-20260102T030405Z", 10),
        ("my.recipes:Long", "r1", 0),
    ):
        sink = ShardSink(
            store,
            tables=tables_of(recipe),
            run_id=run_id,
            config=ShardConfig(rows=4),
            lock=NO_LOCK,
        )
        sink.write(together([captioned(names(8, first=first)), failed(names(2, first=first + 8))]))
        sink.close()
    reconcile(Ledger(store, tables=OMNI))
    store.write_bytes("runs/_tmp/0123.tmp", b"half a shard")
    return store


def arrow_filesystem(store: TableStore) -> fs.FileSystem:
    if store.is_local:
        return fs.LocalFileSystem()
    return fs.S3FileSystem(endpoint_override=store.options.endpoint_url)


def by_dataset(store: TableStore, table: str) -> pa.Table:
    source = store.full(table)
    return ds.dataset(source, partitioning="hive", filesystem=arrow_filesystem(store)).to_table()


def by_parquet(store: TableStore, table: str) -> pa.Table:
    return pq.read_table(store.full(table), filesystem=arrow_filesystem(store))


def by_pandas(store: TableStore, table: str) -> pa.Table:
    options = None if store.is_local else {"endpoint_url": store.options.endpoint_url}
    frame = pd.read_parquet(f"{store.url}/{table}", storage_options=options)
    return pa.Table.from_pandas(frame, preserve_index=False)


def by_duckdb(store: TableStore, table: str) -> pa.Table:
    with duckdb.connect() as connection:
        if not store.is_local:
            endpoint = store.options.endpoint_url
            connection.register_filesystem(s3fs.S3FileSystem(endpoint_url=endpoint))
        return connection.sql(
            f"select * from read_parquet('{store.url}/{table}/**/*.parquet', "
            "hive_partitioning=true)"
        ).to_arrow_table()


Reader = Callable[[TableStore, str], pa.Table]


@pytest.mark.parametrize("read", [by_dataset, by_parquet, by_pandas, by_duckdb])
def test_plain_read(read: Reader, store: TableStore) -> None:
    for table, schema, count in (("captions", CAPTIONS, 24), ("failures", FAILURES, 6)):
        rows = read(store, table)
        assert sorted(rows.column_names) == sorted([*schema.names, *PARTITIONS])
        assert rows.num_rows == count
        for name in PARTITIONS:
            kind = rows.schema.field(name).type
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            assert pa.types.is_string(kind) or pa.types.is_large_string(kind)
        keys = {
            (str(row["video_id"]), str(row["recipe"]), str(row["run_id"]))
            for row in rows.select(["video_id", *PARTITIONS]).to_pylist()
        }
        assert len(keys) == count
        assert {key[1] for key in keys} == {"omni", "my.recipes:Long"}
        assert {key[2] for key in keys} == {"r1", "run-20260102T030405Z"}
        created = rows.schema.field("created_at").type
        assert pa.types.is_timestamp(created) and created.tz is not None


def test_texts_come_back_as_they_were(store: TableStore) -> None:
    for read in (by_dataset, by_pandas, by_duckdb):
        rows = read(store, "captions").to_pylist()
        assert {row["caption"] for row in rows} == {f"This is {row['video_id']}." for row in rows}
        assert {row["structured"] for row in rows} == {None}
