"""The domain: opening images, scanning, judging by policy, and keeping what was found."""

__version__ = "0.1.0"
