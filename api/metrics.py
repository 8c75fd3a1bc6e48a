"""What Prometheus may read at `/metrics`."""

from prometheus_client import Counter, Histogram

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

REQUEST_SECONDS = Histogram(
    "palisade_request_seconds", "Seconds that requests took.", ("method", "route", "status"), buckets=SECONDS
)
SCANS = Counter("palisade_scans_total", "Scans by verdict.", ("policy", "action", "reused"))
SCAN_SECONDS = Histogram("palisade_scan_seconds", "Seconds from bytes to verdict, measured anew.", buckets=SECONDS)
DETECTOR_SECONDS = Histogram("palisade_detector_seconds", "Seconds of one detector.", ("detector",), buckets=SECONDS)
DETECTOR_FAILURES = Counter("palisade_detector_failures_total", "Findings that failed.", ("detector",))
REFUSED = Counter("palisade_uploads_refused_total", "Uploads that were not scanned.", ("code",))
