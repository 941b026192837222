"""What every process shares: settings, logging, database, gRPC plumbing, outbox."""
