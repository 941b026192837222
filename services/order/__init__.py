"""Orders: accepts them, starts their sagas, applies their transitions."""
