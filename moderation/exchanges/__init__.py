"""Signal exchanges: fetching what other parties know, additions and withdrawals. No database here."""
