"""The saga's steps: thin gRPC clients of the services, and the one mapping of their refusals."""
