"""User: accounts, passwords and access tokens."""
