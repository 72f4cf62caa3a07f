"""Requests that nobody has thought of, made from the OpenAPI document, against a real server.

What comes back must be documented: its status, its type, its headers and its body.
"""

import asyncio
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from handlers import api, openapi
from tests.server_process import ServerProcess

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]
EXAMPLES = 5
"""For each operation."""

schema = schemathesis.openapi.from_dict(openapi.document(api.routes()))


@pytest.fixture(name="server", scope="module")
def running_server() -> Iterator[str]:
    """Run one server for all tests and give its URL."""
    with asyncio.Runner() as runner:
        server = ServerProcess(
            {
                "GTOWER_DATABASE_URL": "memory:",
                "GTOWER_LOG_LEVEL": "warning",
                "GTOWER_WHATSAPP_APP_SECRET": "app-secret-of-twenty-or-more",
                "GTOWER_WHATSAPP_VERIFY_TOKEN": "verify-token-of-ours",
            }
        )
        runner.run(server.start())
        yield server.url
        runner.run(server.stop())


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_the_server_answers_as_documented(case: Case, server: str) -> None:
    case.call_and_validate(base_url=server, checks=CHECKS)
