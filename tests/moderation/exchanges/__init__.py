"""Exchanges, against local servers that speak each peer's own format."""
