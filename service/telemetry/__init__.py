"""What operators see: logs, metrics, traces; nothing here changes what the service does."""
