"""API keys: how a host's services are known, and what they may do."""
