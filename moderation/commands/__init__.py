"""The `palisade` command: one module for each group of commands."""
