"""Asynchronous scans: accepted at once, done by workers, told by event."""
