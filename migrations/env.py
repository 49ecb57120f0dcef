"""Runs the migrations on the connection that `keyturn.adapters.sqlalchemy.migrations` hands over.

It has begun a transaction on it and ends it afterwards: all of them happen, or none does.
"""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
