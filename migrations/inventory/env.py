"""Alembic environment of the inventory database."""

from migrations.runner import run_environment
from services.inventory.tables import Base

run_environment(Base.metadata)
