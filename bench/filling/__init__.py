"""Fills the six databases with a shop's past: what each order was, and a module per database that writes it down."""
