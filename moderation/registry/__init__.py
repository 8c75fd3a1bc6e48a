"""The models that detectors load: fetching, preparing and verifying them."""
