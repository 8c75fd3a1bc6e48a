"""Who may use the dashboard: accounts, passwords with a second factor, single sign-on, sessions."""
