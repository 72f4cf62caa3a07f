"""The marshmallow schemas as named JSON schemas, for all documents alike."""

import re
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema

from gtower_realtime import __version__
from gtower_realtime.answers import EitherOf
from gtower_realtime.schemas import ArgumentSchema, DocumentedSchema, Metadata, Timestamp
from handlers.routes import first_paragraph


class JsonSchemas:
    """Schemas by name, each once; what is asked for by :meth:`reference` is in :attr:`named`."""

    def __init__(self, description: str = "") -> None:
        self._classes: dict[str, Any] = {}
        self._plugin = MarshmallowPlugin(schema_name_resolver=self._name_of)
        self.specification = APISpec(
            title="GTower Realtime",
            version=__version__,
            openapi_version="3.1.0",
            plugins=[self._plugin],
            info={"description": description},
        )
        self._plugin.map_to_openapi_type(Metadata, "object", None)
        self._plugin.map_to_openapi_type(Timestamp, "string", "date-time")
        converter: Any = self._plugin.converter
        self._converter = converter

        def either_of(_converter: Any, field: Any, **_: Any) -> dict[str, Any]:
            return self._choices(field)

        converter.add_attribute_function(either_of)

    def reference(self, schema: Schema) -> dict[str, Any]:
        """Return a JSON schema that refers to ``schema`` by its name."""
        found: dict[str, Any] = self._converter.resolve_nested_schema(schema)
        return found

    def argument(self, schema: Schema) -> dict[str, Any]:
        """Return the JSON schema of all forms that a client event's argument may have."""
        if not isinstance(schema, ArgumentSchema):
            return self.reference(schema)
        if schema.whole is not None:
            free = {"type": ["string", "number", "boolean", "array", "null"]}
            return {"anyOf": [free, self.reference(schema.whole)]}
        if schema.shorthand is None:
            return self.reference(schema)
        field = next(one for one in schema.fields.values() if one.data_key == schema.shorthand)
        return {"anyOf": [self._converter.field2property(field), self.reference(schema)]}

    @property
    def named(self) -> dict[str, Any]:
        """The JSON schemas by name, with descriptions and examples."""
        components = self.specification.to_dict().get("components", {})
        return self.documented(components.get("schemas", {}))

    def documented(self, schemas: dict[str, Any]) -> dict[str, Any]:
        """Return ``schemas`` with the descriptions and examples of their classes."""
        return {name: {**self._documentation(name), **one} for name, one in schemas.items()}

    def _documentation(self, name: str) -> dict[str, Any]:
        kind = self._classes[name]
        told: dict[str, Any] = {"description": first_paragraph(kind)}
        if issubclass(kind, DocumentedSchema) and kind.example != DocumentedSchema.example:
            told["examples"] = [kind.example]
        return told

    def _name_of(self, schema: Any) -> str:
        kind = schema if isinstance(schema, type) else type(schema)
        name = re.sub(r"Schema$", "", kind.__name__)
        self._classes[name] = kind
        return name

    def _choices(self, field: Any) -> dict[str, Any]:
        if not isinstance(field, EitherOf):
            return {}
        return {"oneOf": [self.reference(choice()) for choice in field.choices]}
