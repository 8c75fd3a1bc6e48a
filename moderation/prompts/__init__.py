"""Checking what a prompt asks an image generator for."""
