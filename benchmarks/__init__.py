"""What the service costs, measured beside a bare echo and a peer on the same machine."""
