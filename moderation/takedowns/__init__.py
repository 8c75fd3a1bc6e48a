"""Takedown notices: the right of people in images to have them removed, copies included, within 48 hours."""
