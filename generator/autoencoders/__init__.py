"""Autoencoders whose architecture diffusers does not have."""
