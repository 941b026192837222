"""Alembic environment of the user database."""

from migrations.runner import run_environment
from services.user.tables import Base

run_environment(Base.metadata)
