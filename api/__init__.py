"""The HTTP gateway: JSON over HTTP in front of the gRPC services; it checks input and tokens and owns no data."""
