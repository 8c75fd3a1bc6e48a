"""Detectors measure images. They know no database, no settings and no web."""
