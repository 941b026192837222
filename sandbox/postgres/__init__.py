"""The embedded PostgreSQL, with a database and a role for each service."""
