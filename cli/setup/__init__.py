"""What must be done once, and after each upgrade, before the parts can run. All of it can be repeated."""
