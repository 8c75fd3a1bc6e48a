"""Makes labelled synthetic training data with diffusion models: guarded, marked and reproducible."""
