"""Alembic environment of the notification database."""

from migrations.runner import run_environment
from services.notification.tables import Base

run_environment(Base.metadata)
