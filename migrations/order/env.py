"""Alembic environment of the order database."""

from migrations.runner import run_environment
from services.order.tables import Base

run_environment(Base.metadata)
