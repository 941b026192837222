"""Alembic environment of the product database."""

from migrations.runner import run_environment
from services.product.tables import Base

run_environment(Base.metadata)
