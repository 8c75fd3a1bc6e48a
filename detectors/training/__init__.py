"""Training and honest evaluation of the detectors that this project makes itself. Serving imports nothing of it."""
