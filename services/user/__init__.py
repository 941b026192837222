"""User: accounts, passwords and tokens."""
