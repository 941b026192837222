"""The six services, one shape each: tables, repository (all SQL), service (use cases), errors, server (gRPC)."""
