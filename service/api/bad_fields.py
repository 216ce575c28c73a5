"""The bad fields of a request: its caller is told of all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from service.errors import InvalidRequest

_P = ParamSpec("_P")
_T = TypeVar("_T")


class BadFields:
    """Collects the bad fields of a request until `refuse` names them."""

    def __init__(self) -> None:
        self._violations: list[tuple[str, str]] = []

    def require(self, good: object, field: str, problem: str) -> None:
        """Notes a field that is not good."""
        if not good:
            self._violations.append((field, problem))

    def read(self, reader: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Returns a field's value as its reader reads it, or notes why the reader refuses it.

        What it returns is of use only after `refuse`: of a bad field it is None, whatever its type.
        """
        try:
            return reader(*args, **kwargs)
        except InvalidRequest as error:
            self._violations.extend(error.violations)
            return cast(_T, None)

    def refuse(self) -> None:
        """Ends the call if any field is bad.

        Raises:
            InvalidRequest: It names all of them.
        """
        if self._violations:
            raise InvalidRequest.of(self._violations)
