"""Every detector of Palisade, one line each."""

from detectors.base import Detector
from detectors.embedding import EmbeddingDetector
from detectors.faces import FacesDetector
from detectors.known import KnownDetector
from detectors.likeness import LikenessDetector
from detectors.nsfw import NsfwDetector
from detectors.provenance import ProvenanceDetector
from detectors.signals import SignalsDetector
from detectors.swap import SwapDetector
from detectors.synthetic import SyntheticDetector

DETECTORS: tuple[type[Detector], ...] = (
    SignalsDetector,
    KnownDetector,
    ProvenanceDetector,
    NsfwDetector,
    FacesDetector,
    LikenessDetector,
    SwapDetector,
    EmbeddingDetector,
    SyntheticDetector,
)
