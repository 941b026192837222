"""Alembic environment of the payment database."""

from migrations.runner import run_environment
from services.payment.tables import Base

run_environment(Base.metadata)
