"""People who order without an account: their links, and how their orders become an account's."""
