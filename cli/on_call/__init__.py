"""What people on call do from a shell: see what needs a person, read an order, and free what is stuck."""
