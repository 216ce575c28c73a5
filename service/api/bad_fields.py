"""The bad fields of a request: its caller is told of all of them at once.

Most of what a field must be stands in `proto/`, where callers see it, too. What rules there cannot
say is for `fields`, `challenge_requests` and `session_requests`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, Self, TypeVar, cast

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from govifi.challenge.v1 import challenge_admin_pb2, challenge_pb2
from protovalidate import Validator

from service.errors import InvalidRequest

_P = ParamSpec("_P")
_T = TypeVar("_T")
_RULES = Validator()
for _file in (challenge_pb2.DESCRIPTOR, challenge_admin_pb2.DESCRIPTOR):
    for _message in _file.message_types_by_name.values():
        # Compiles them, which takes too long for anyone's first call.
        _RULES.collect_violations(GetMessageClass(_message)())


class BadFields:
    """Collects the bad fields of a request until `refuse` names them."""

    def __init__(self) -> None:
        self._violations: dict[str, str] = {}

    @classmethod
    def of(cls, request: Message) -> Self:
        """Notes the fields that break a rule of `proto/`.

        A rule over several fields has the name of the one that it is about.
        """
        bad = cls()
        for violation in _RULES.collect_violations(request):
            broken = violation.proto
            path = broken.field.elements if broken.field else ()
            field = ".".join(element.field_name for element in path) or broken.rule_id
            bad.require(False, field, broken.message)
        return bad

    def require(self, good: object, field: str, problem: str) -> None:
        """Notes a field that is not good, unless it is known for another reason."""
        if not good:
            self._violations.setdefault(field, problem)

    def read(self, reader: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Returns a field's value as its reader reads it, or notes why the reader refuses it.

        What it returns is of use only after `refuse`: of a bad field it is None, whatever its type.
        """
        try:
            return reader(*args, **kwargs)
        except InvalidRequest as error:
            for field, problem in error.violations:
                self.require(False, field, problem)
            return cast(_T, None)

    def refuse(self) -> None:
        """Ends the call if any field is bad.

        Raises:
            InvalidRequest: It names all of them.
        """
        if self._violations:
            raise InvalidRequest.of(tuple(self._violations.items()))
