"""Administering accounts: roles, and who may log in."""
