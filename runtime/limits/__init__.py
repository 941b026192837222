"""Limits that all processes of an installation share: how one asks for permits (docs/decisions/0025)."""
