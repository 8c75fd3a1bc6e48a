"""Makes labelled synthetic images with diffusion models: guarded, marked, reproducible."""
