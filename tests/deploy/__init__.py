"""The overlays of deploy/: what they make of Envoy, tried."""
