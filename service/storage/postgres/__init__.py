"""PostgreSQL and Citus: connections, hosts, poolers, partitions; no statement on sessions."""
