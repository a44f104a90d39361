"""The migrations make exactly what the models say, and the guards hold."""

import psycopg
import pytest

from backend.base import schema


def test_migrations_from_empty_equal_the_models(app):
    assert schema.differences() == []


def test_migrating_again_changes_nothing(app):
    schema.migrate()
    assert schema.differences() == []


@pytest.mark.parametrize("table", ["reading", "entry", "posting", "audit_event"])
def test_append_only_tables_refuse_truncate(database, table):
    with (
        psycopg.connect(database) as connection,
        pytest.raises(psycopg.errors.RestrictViolation, match="append-only"),
    ):
        connection.execute(f"TRUNCATE {table} CASCADE")
