"""Scans: an image that a host sent, what was measured of it, and how it was judged."""
