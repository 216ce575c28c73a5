"""PostgreSQL: connections, poolers, the ledger's partitions; no statement of its own."""
