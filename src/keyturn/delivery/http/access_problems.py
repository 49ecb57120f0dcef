"""What OpenAPI says of the refusals in another app's routes; the service itself does without."""

from collections.abc import Mapping

from keyturn.delivery.http.openapi import BAD_ACCESS_TOKEN, problems
from keyturn.delivery.http.schemas import Problem
from keyturn.domain.errors import PermissionDenied, StoreUnavailable


def _whole_problem() -> Mapping[str, object]:
    """Return the schema of a problem without any reference."""
    schema = Problem.model_json_schema(mode="serialization")
    schema["properties"]["errors"]["anyOf"][0]["items"] = schema.pop("$defs")["InvalidField"]
    return schema


ACCESS_PROBLEMS = problems(
    *BAD_ACCESS_TOKEN, PermissionDenied, StoreUnavailable, schema=_whole_problem()
)
"""The `responses` of a route of any app that requires a role or permission."""
