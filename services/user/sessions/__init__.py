"""Sessions: where somebody is logged in."""
