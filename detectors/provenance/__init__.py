"""Where an image says it comes from: content credentials, metadata of generators, and invisible watermarks."""

from detectors.provenance.detector import ProvenanceDetector

__all__ = ["ProvenanceDetector"]
