"""Schema of the six databases: one Alembic environment each, all run by `migrations.runner`."""
