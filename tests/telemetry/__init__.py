"""What a running service shows of itself: metrics, traces, and what is made of them."""
