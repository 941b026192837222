"""One-time links that are mailed: an address is confirmed, a password reset, an address changed."""
