"""Re-scans: what is hosted, judged again by a new policy, head, list or model, along the cheapest path that is exact."""
