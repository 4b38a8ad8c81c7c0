"""What counts of the objects of libraries that hold something else which differs from run to run."""

from __future__ import annotations

import re
import sys
import typing
from typing import TYPE_CHECKING, Any, Final

from ..serialization.reducers import made_of_ufunc, memory_of_storage, reduce_ufunc

if TYPE_CHECKING:
    from collections.abc import Callable

_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")


def repr_without_addresses(value: object) -> str:
    """Return what a value says of itself, but for where in memory it stands."""
    return _ADDRESS.sub("", repr(value))


def _said_by(statement: Any) -> object:
    """Return what a statement of SQLAlchemy says, and of which tables; in it addresses name parameters."""
    compiled = statement.compile()
    parts = sys.modules["sqlalchemy.sql.visitors"].iterate(statement)
    tables = {
        repr_without_addresses(part) for part in parts if isinstance(part, sys.modules["sqlalchemy"].Table)
    }
    return compiled.string, compiled.params, sorted(tables)


WHAT_COUNTS: Final[dict[str, Callable[[Any], object]]] = {
    "dataclasses.Field": lambda one: (one.name, one.metadata),  # of the rest the methods are made
    "pydantic._internal._decorators.Decorator": lambda one: (one.cls_var_name, one.info),
    "pydantic.type_adapter.TypeAdapter": lambda one: (one._type, one._config),  # noqa: SLF001
    "pydantic._internal._validate_call.ValidateCallWrapper": lambda one: (
        one.function,
        typing.get_type_hints(one.schema_type, include_extras=True),  # it looks at values by these
        one.validate_return,
        one.config_wrapper.config_dict,
    ),
    "msgspec._core.Factory": lambda one: one.factory,
    "msgspec.structs.StructConfig": lambda one: [
        (name, getattr(one, name)) for name in dir(one) if not name.startswith("_")
    ],
    # It is made of a structure's fields; from Python 3.14 on it is public.
    **dict.fromkeys(("_ctypes.CField", "ctypes.CField"), lambda _: None),
    # Tables and columns hold each other, in sets too, and count how many there were before them.
    "sqlalchemy.sql.schema.MetaData": lambda one: one.sorted_tables,
    "sqlalchemy.sql.schema.Table": lambda one: (
        sorted(repr_without_addresses(part) for part in (one, *one.constraints, *one.indexes)),
        [getattr(column.default, "arg", None) for column in one.columns],
    ),
    "sqlalchemy.sql.schema.Column": lambda one: (one.table, one.name),
    **dict.fromkeys(
        (
            *("sqlalchemy.sql.selectable.Select", "sqlalchemy.sql.selectable.CompoundSelect"),
            *("sqlalchemy.sql.dml.Insert", "sqlalchemy.sql.dml.Update", "sqlalchemy.sql.dml.Delete"),
            *("sqlalchemy.sql.elements.BinaryExpression", "sqlalchemy.sql.elements.BooleanClauseList"),
        ),
        _said_by,
    ),
    # These keep what was looked up in them; before pandas 3 they tell other modules.
    **dict.fromkeys(
        (
            "pandas.arrays.DatetimeArray",
            "pandas.arrays.TimedeltaArray",
            "pandas.arrays.PeriodArray",
            "pandas.core.arrays.datetimes.DatetimeArray",
            "pandas.core.arrays.timedeltas.TimedeltaArray",
            "pandas.core.arrays.period.PeriodArray",
        ),
        lambda one: (
            (one._ndarray, one.dtype),  # noqa: SLF001
            {name: value for name, value in vars(one).items() if name != "_cache"},
        ),
    ),
    # For a pickle they name the function that they decorate.
    **dict.fromkeys(
        ("toolz.functoolz.curry", "cytoolz.functoolz.curry"),
        lambda one: (one.func, one.args, one.keywords),
    ),
    "nanobind.nb_func": lambda one: (sys.modules[one.__module__], one.__qualname__),
    "numba.core.registry.CPUDispatcher": lambda one: (one.py_func, one.targetoptions),
    "numpy.ufunc": lambda one: (one.__name__, one.nin, one.nout, made_of_ufunc(one) or reduce_ufunc(one)),
    # Tensors name their memory by its address when they are pickled.
    "torch.storage.TypedStorage": lambda one: (one.dtype, one._untyped_storage),  # noqa: SLF001
    "torch.storage.UntypedStorage": lambda one: memory_of_storage(one.cpu()),
    "random.SystemRandom": lambda _: None,  # it has no state
    # Clients of a service: which one it is. What else they hold are ids, or the service's whole model.
    "botocore.client": lambda one: (
        (one.meta.region_name, one.meta.endpoint_url) if hasattr(one, "meta") else vars(one)  # a paginator
    ),
    "boto3.session.Session": lambda one: (one.region_name, one.profile_name),
    **dict.fromkeys(
        (
            *("pymongo.synchronous.mongo_client.MongoClient", "redis.client.Redis"),
            *("redis.asyncio.client.Redis", "sqlalchemy.engine.base.Engine"),
        ),
        repr_without_addresses,
    ),
    # Where they write, and how a connection is encrypted, is not what a task returns.
    **dict.fromkeys(("loguru._logger.Logger", "rich.console.Console", "ssl.SSLContext"), lambda _: None),
}
"""By class, what gives it. By module, where classes are made when they are asked for."""
