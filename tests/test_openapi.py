"""The OpenAPI document: valid, complete, and what the server really takes."""

import json
import re
from typing import Any

import pytest
from openapi_spec_validator import validate
from tornado.httpclient import AsyncHTTPClient

from gtower_realtime import errors
from gtower_realtime.application import Application
from gtower_realtime.errors import RealtimeError, UnknownClient
from handlers import api, openapi, refusals
from handlers.base import BaseHandler
from handlers.documents import DocumentHandler
from handlers.pages import FileHandler
from handlers.reads import StatusHandler
from handlers.routes import Route
from tests.documented import Documented

API = api.routes()


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
    assert sorted(post["responses"]) == (
        ["201", "400", "401", "403", "404", "409", "413", "415", "422", "429", "500", "503"]
    )


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


def operations(served: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the operations of the document and what each is called."""
    return [
        (f"{method.upper()} {path}", operation)
        for path, item in served["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    ]


def test_every_route_declares_its_answer() -> None:
    problems = openapi.undocumented(API)
    assert not problems, "\n".join(problems)


def test_a_route_without_an_answer_is_told_what_to_do() -> None:
    assert openapi.undocumented([Route("/websocket/new", StatusHandler)]) == [
        "GET /websocket/new has no documented answer: give its Route an `answer`, "
        "a schema of gtower_realtime/answers.py."
    ]


def test_every_example_of_the_document_is_as_its_schema_says(served: dict[str, Any]) -> None:
    documented = Documented(served)
    problems = []
    count = 0

    def check(where: str, schema: dict[str, Any], example: Any) -> None:
        nonlocal count
        count += 1
        problems.extend(f"{where}: {one}" for one in documented.problems(schema, example))

    for name, schema in served["components"]["schemas"].items():
        for example in schema.get("examples", []):
            check(name, {"$ref": f"#/components/schemas/{name}"}, example)
    for name, operation in operations(served):
        contents = [answer["content"] for answer in operation["responses"].values()]
        contents += [operation["requestBody"]["content"]] if "requestBody" in operation else []
        for content in contents:
            for said in content.values():
                examples = [documented.resolved(one) for one in said.get("examples", {}).values()]
                values = [one["value"] for one in examples]
                values += [said["example"]] if "example" in said else []
                for value in values:
                    check(name, said["schema"], value)
    for path, item in served["paths"].items():
        for parameter in item.get("parameters", []):
            check(path, parameter["schema"], parameter["example"])
    assert not problems
    assert count > 300


def test_every_json_answer_and_body_has_an_example(served: dict[str, Any]) -> None:
    missing = [
        name
        for name, operation in operations(served)
        for answer in [*operation["responses"].values(), operation.get("requestBody", {})]
        for kind, said in answer.get("content", {}).items()
        if kind == "application/json" and not said.get("example", said.get("examples"))
    ]
    assert missing == []


def test_every_parameter_and_operation_is_described(served: dict[str, Any]) -> None:
    for name, operation in operations(served):
        assert operation["summary"], name
        assert operation["description"], name
        for parameter in operation.get("parameters", []):
            assert parameter["description"], (name, parameter)
    for path, item in served["paths"].items():
        for parameter in item.get("parameters", []):
            assert parameter["description"], (path, parameter)


def test_a_trigger_tells_how_to_wait_and_how_to_repeat(served: dict[str, Any]) -> None:
    post = served["paths"]["/websocket/event/room/{roomName}/{eventName}"]["post"]
    assert [(one["in"], one["name"]) for one in post["parameters"]] == [
        ("query", "wait"),
        ("query", "timeout"),
        ("header", "Idempotency-Key"),
    ]
    assert sorted(post["responses"]["201"]["headers"]) == ["Idempotency-Replayed", "X-Request-Id"]
    assert sorted(post["responses"]["429"]["headers"]) == [
        "Retry-After",
        "X-RateLimit-Limit",
        "X-RateLimit-Remaining",
        "X-Request-Id",
    ]
    assert post["summary"] == "Custom event ':eventName' sent to room :roomName"


def test_names_in_paths_have_their_limits(served: dict[str, Any]) -> None:
    room, event = served["paths"]["/websocket/event/room/{roomName}/{eventName}"]["parameters"]
    assert (room["schema"]["minLength"], room["schema"]["maxLength"]) == (1, 200)
    assert (event["schema"]["minLength"], event["schema"]["maxLength"]) == (1, 128)


@pytest.mark.parametrize(
    ("path", "codes"),
    [
        (
            "/websocket/notify/client/{clientId}",
            ["unknown_client"],
        ),
        ("/websocket/clients/{id}/disconnect", ["unknown_client"]),
    ],
)
def test_the_codes_of_a_status_are_those_that_the_endpoint_can_give(
    served: dict[str, Any], path: str, codes: list[str]
) -> None:
    content = served["paths"][path]["post"]["responses"]["404"]["content"]["application/json"]
    assert list(content["examples"]) == codes


def test_an_endpoint_for_a_room_does_not_speak_of_unknown_clients(served: dict[str, Any]) -> None:
    assert "404" not in served["paths"]["/websocket/notify/room/{roomName}"]["post"]["responses"]


def test_every_error_of_http_has_an_example(served: dict[str, Any]) -> None:
    only_of_clients = {
        "missing_token",
        "invalid_token",
        "token_expired",
        "unknown_event",
    }
    codes = {
        kind.code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, RealtimeError)
    }
    assert set(served["components"]["examples"]) == codes - only_of_clients


def test_an_example_of_a_refusal_is_what_the_server_would_say() -> None:
    assert refusals.example(UnknownClient) == {
        "success": False,
        "message": "Nobody with this id is connected or able to come back. Look the id up again.",
        "error": {
            "code": "unknown_client",
            "message": (
                "Nobody with this id is connected or able to come back. Look the id up again."
            ),
            "retryable": False,
        },
        "requestId": "7f0c6a1e9b2d4c38",
    }


@pytest.mark.gen_test
async def test_the_document_is_open_to_tools_of_any_origin_and_cheap_to_ask_for_again(
    http_client: AsyncHTTPClient, base_url: str
) -> None:
    answer = await http_client.fetch(f"{base_url}/openapi.json")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    again = await http_client.fetch(
        f"{base_url}/openapi.json",
        headers={"If-None-Match": answer.headers["Etag"]},
        raise_error=False,
    )
    assert again.code == 304


OTHER_HANDLERS = (FileHandler, DocumentHandler)
"""Of the pages and documents, which are no API."""


def test_everything_that_is_served_besides_pages_is_in_the_document(
    application: Application, served: dict[str, Any]
) -> None:
    missing = [
        f"{rule.target_kwargs['route']} is served and in no document: add its module to "
        "handlers/api.py, so that its Route rows get there."
        for rule in application.tornado_application.wildcard_router.rules
        if issubclass(rule.target, BaseHandler)
        and not issubclass(rule.target, OTHER_HANDLERS)
        and re.sub(r":([A-Za-z]+)", r"{\1}", rule.target_kwargs["route"]) not in served["paths"]
    ]
    assert not missing, "\n".join(missing)
