"""How Palisade's own detectors are trained. Only commands of the `train` extra import what needs torch."""
