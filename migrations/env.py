"""Alembic's environment: the application's own engine and metadata."""

from alembic import context
from flask import current_app

from backend.base.schema import ours

target = current_app.extensions["migrate"].db
engine = target.engine


def run() -> None:
    """Apply the scripts in one transaction, one migrator at a time."""
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT pg_advisory_lock(20261120)")
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=target.metadata,
            include_object=ours,
            compare_server_default=False,
            **current_app.extensions["migrate"].configure_args,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.exec_driver_sql("SELECT pg_advisory_unlock(20261120)")


run()
