"""The OpenAPI document: valid, complete, and what the server really takes."""

import json
from typing import Any

import pytest
from openapi_spec_validator import validate
from tornado.httpclient import AsyncHTTPClient

from handlers import control, openapi, operations, publish, reads, rooms, triggers

API = [
    *triggers.routes(),
    *publish.routes(),
    *reads.routes(),
    *rooms.routes(),
    *control.routes(),
    *operations.routes(),
]


@pytest.fixture(name="served")
def served_document() -> dict[str, Any]:
    return openapi.document(API)


@pytest.mark.gen_test
async def test_the_server_serves_a_valid_document(
    http_client: AsyncHTTPClient, base_url: str
) -> None:
    answer = await http_client.fetch(f"{base_url}/openapi.json")
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    document = json.loads(answer.body)
    validate(document)
    assert document["openapi"] == "3.1.0"
    assert document == openapi.document(API)


def test_each_method_of_each_route_is_an_operation(served: dict[str, Any]) -> None:
    membership = served["paths"]["/websocket/clients/{id}/rooms/{room}"]
    assert sorted(membership) == ["delete", "parameters", "put"]
    assert len(served["paths"]) == len(API)


def test_a_notification_has_the_fields_of_its_schema_and_no_others(served: dict[str, Any]) -> None:
    post = served["paths"]["/websocket/notify/client/{clientId}"]["post"]
    body = post["requestBody"]
    assert body["required"] is True
    assert body["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Notification"
    }
    schema = served["components"]["schemas"]["Notification"]
    assert schema["required"] == ["message", "title", "type"]
    assert schema["properties"]["type"]["enum"] == ["info", "success", "warning", "error"]
    assert schema["additionalProperties"] is False
    assert list(post["responses"]) == ["201", "default"]


def test_the_names_of_the_wire_are_in_the_document_and_not_those_of_the_code(
    served: dict[str, Any],
) -> None:
    assert sorted(served["components"]["schemas"]["Publish"]["properties"]) == [
        "all",
        "clients",
        "data",
        "event",
        "except",
        "id",
        "rooms",
        "ttl",
        "users",
        "volatile",
    ]


def test_what_a_read_takes_after_the_question_mark_is_listed(served: dict[str, Any]) -> None:
    get = served["paths"]["/websocket/rooms/{room}/history"]["get"]
    assert [parameter["name"] for parameter in get["parameters"]] == ["after", "limit"]
