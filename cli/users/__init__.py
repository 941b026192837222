"""Administering accounts from a shell."""
