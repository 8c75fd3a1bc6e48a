"""Datasets: WebDataset tar shards with a Parquet manifest."""
