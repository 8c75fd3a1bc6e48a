"""A living installation to look at: pictures drawn by code, real scans, real cases, made-up people."""
