"""Alembic's entry point: runs the migrations on the connection that :func:`retest.store.engine.upgrade` hands over."""

from alembic import context

from retest.store.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, transactional_ddl=False)
context.run_migrations()
