"""Statements that are compiled once and executed by the driver itself.

What every refresh does takes this way. SQLAlchemy still writes the SQL and converts the values;
left out is what it does for each execution, which costs more than PostgreSQL's own work.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Dialect, Select, TextClause, Update
from sqlalchemy.engine.interfaces import Compiled as ClauseCompiled
from sqlalchemy.types import TypeEngine

Parameters = Mapping[str, object]
"""Values for a statement, by the names that it gives them."""

_Converter = Callable[[Any], Any]


class Compiled:
    """A prepared statement in the SQL of one database.

    Attributes:
        sql: as the driver takes it, with a place for each argument.
    """

    def __init__(
        self, statement: Select[Any] | Update, set_columns: Sequence[str], on: Dialect
    ) -> None:
        """Compile `statement` for the database of `on`."""
        compiled = statement.compile(dialect=on, column_keys=list(set_columns) or None)
        self.sql = str(compiled)
        order = _places(compiled)
        self._arguments = [(name, _to_driver(compiled.binds[name].type, on)) for name in order]
        self._converters = dict(self._arguments)
        columns = statement.selected_columns if isinstance(statement, Select) else ()
        converters = (_from_driver(column.type, on) for column in columns)
        self._converted = [(n, convert) for n, convert in enumerate(converters) if convert]

    def arguments(self, parameters: Parameters) -> list[object]:
        """Return the values for the places of `sql`, in their order."""
        return [
            convert(parameters[name]) if convert else parameters[name]
            for name, convert in self._arguments
        ]

    def columns(self, places: Iterable[str], many: Sequence[Parameters]) -> list[list[object]]:
        """Return, for each of `places`, the values of `many` as an array for the driver."""
        columns = []
        for name in places:
            convert = self._converters[name]
            values = [parameters[name] for parameters in many]
            columns.append([convert(value) for value in values] if convert else values)
        return columns

    def row(self, values: Sequence[Any]) -> Sequence[Any]:
        """Return what the driver has read as the values that were stored."""
        row = list(values)
        for position, convert in self._converted:
            row[position] = convert(row[position])
        return row


class Together:
    """What does for many at once what a `Prepared` does for one, on PostgreSQL.

    Attributes:
        key: the parameter that tells them apart; in the first column of each row.
    """

    def __init__(self, statement: Select[Any] | TextClause, key: str) -> None:
        """Prepare `statement`.

        Args:
            statement: has the parameters of the other, each as an array. A query returns the rows
                of all; an update changes what nobody has locked, and returns the keys of that.
            key: the parameter that tells them apart.
        """
        self.key = key
        self._statement = statement
        self._compiled: tuple[str, Sequence[str]] | None = None

    def on(self, dialect: Dialect) -> tuple[str, Sequence[str]]:
        """Return it in the SQL of PostgreSQL, and the parameters that its places hold."""
        if self._compiled is None:
            compiled = self._statement.compile(dialect=dialect)
            self._compiled = str(compiled), _places(compiled)
        return self._compiled


class Prepared:
    """A statement that is executed often, alone, and with nothing variable but its values.

    Attributes:
        statement: the same, for where it is one of several in a transaction.
        together: the same for many, None where they are few.
    """

    def __init__(
        self,
        statement: Select[Any] | Update,
        *,
        set_columns: Sequence[str] = (),
        together: Together | None = None,
    ) -> None:
        """Prepare `statement`.

        Args:
            statement: a query, or an update.
            set_columns: what an update sets, each to the value that has the column's name.
            together: what many who ask at the same time are answered by.
        """
        self.statement = statement
        self.together = together
        self._set_columns = set_columns
        self._compiled: dict[str, Compiled] = {}

    def on(self, dialect: Dialect) -> Compiled:
        """Return it compiled for a database."""
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = Compiled(self.statement, self._set_columns, dialect)
            self._compiled[dialect.name] = compiled
        return compiled


def _places(compiled: ClauseCompiled) -> Sequence[str]:
    return getattr(compiled, "positiontup", None) or ()


def _to_driver(stored: TypeEngine[Any], dialect: Dialect) -> _Converter | None:
    return stored.dialect_impl(dialect).bind_processor(dialect)


def _from_driver(stored: TypeEngine[Any], dialect: Dialect) -> _Converter | None:
    return stored.dialect_impl(dialect).result_processor(dialect, None)
