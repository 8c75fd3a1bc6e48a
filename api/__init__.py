"""The HTTP interface: parses requests, calls the domain, answers."""
