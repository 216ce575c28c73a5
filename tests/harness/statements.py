"""Every statement of the service, by its name."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from service import storage
from service.storage.changes import Change

_MODULES = [
    import_module(f"service.storage.{module.name}")
    for module in pkgutil.iter_modules(storage.__path__)
    if not module.ispkg
]
_VALUES = [value for module in _MODULES for value in vars(module).values()]

CHANGES = {value.name: value for value in _VALUES if isinstance(value, Change)}
TEXTS = {
    value.partition("\n")[0].removeprefix("-- "): value
    for value in _VALUES
    if isinstance(value, str) and value.startswith("-- ")
}
"""Those that are no changes; with `{…}` where databases differ."""
