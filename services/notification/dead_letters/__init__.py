"""Records that the consumer refused, until a person is done with them (docs/decisions/0018)."""
