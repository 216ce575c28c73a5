"""PostgreSQL: connections, hosts, poolers, partitions; statements on sessions are elsewhere."""
