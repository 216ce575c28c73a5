"""More than one core, more than one machine: workers, PgBouncer, partitions, plans."""
