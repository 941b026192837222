"""People who order without an account: their tokens, and how what they ordered becomes an account's."""
