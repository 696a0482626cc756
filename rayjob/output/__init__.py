"""What a run writes: tables in shards, the ledger, the lock, the summary."""
