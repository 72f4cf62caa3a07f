"""What documents say of values, held against values."""

from typing import Any

from jsonschema import Draft202012Validator, FormatChecker


class Documented:
    """The schemas of an OpenAPI or AsyncAPI document.

    A field that a schema of an answer does not know is an error here, although clients must be
    ready for one: it would be a field that nobody has documented.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = {
            **document,
            "components": {
                **document["components"],
                "schemas": {
                    name: {"additionalProperties": False, **schema}
                    if "properties" in schema
                    else schema
                    for name, schema in document["components"]["schemas"].items()
                },
            },
        }

    def problems(self, schema: dict[str, Any], value: Any) -> list[str]:
        """Return what is wrong with ``value`` according to ``schema`` of the document."""
        validator = Draft202012Validator(
            {"components": self._document["components"], **schema}, format_checker=FormatChecker()
        )
        return [f"{one.json_path}: {one.message}" for one in validator.iter_errors(value)]

    def resolved(self, value: dict[str, Any]) -> dict[str, Any]:
        """Return what ``value`` refers to, or itself."""
        found: Any = value
        while "$ref" in found:
            found_at = self._document
            for name in found["$ref"].removeprefix("#/").split("/"):
                found_at = found_at[name.replace("~1", "/").replace("~0", "~")]
            found = found_at
        return dict(found)
