"""The domain: opening images, scanning, judging by policy, and keeping what was found."""
