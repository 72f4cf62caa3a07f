import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from gtower_realtime.engineio.handshake import HandshakeRefused, Query, session_of


def query(text: str) -> Query:
    start_line = RequestStartLine("GET", f"/socket.io/?{text}", "HTTP/1.1")
    headers = HTTPHeaders({"Host": "localhost"})
    return Query.of(HTTPServerRequest(start_line=start_line, headers=headers))


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_a_request_of_revision_4_passes_over_the_transport_it_names(transport: str) -> None:
    query(f"EIO=4&transport={transport}").check(transport)


@pytest.mark.parametrize(
    ("text", "used", "number", "message"),
    [
        ("", "polling", 0, "Transport unknown"),
        ("EIO=4", "polling", 0, "Transport unknown"),
        ("EIO=4&transport=", "polling", 0, "Transport unknown"),
        ("EIO=4&transport=abc", "websocket", 0, "Transport unknown"),
        ("EIO=4&transport=webtransport", "polling", 0, "Transport unknown"),
        ("EIO=4&transport=abc&transport=polling", "polling", 0, "Transport unknown"),
        ("EIO=4&transport=%FF", "polling", 0, "Transport unknown"),
        ("transport=polling", "polling", 5, "Unsupported protocol version"),
        ("EIO=3&transport=polling", "polling", 5, "Unsupported protocol version"),
        ("EIO=abc&transport=websocket", "websocket", 5, "Unsupported protocol version"),
        ("EIO=4.0&transport=polling", "polling", 5, "Unsupported protocol version"),
        ("EIO=3&EIO=4&transport=polling", "polling", 5, "Unsupported protocol version"),
        ("EIO=4&transport=websocket", "polling", 3, "Bad request"),
        ("EIO=4&transport=polling", "websocket", 3, "Bad request"),
    ],
)
def test_what_is_wrong_with_a_query_is_said_as_engine_io_does(
    text: str, used: str, number: int, message: str
) -> None:
    with pytest.raises(HandshakeRefused) as refusal:
        query(text).check(used)
    assert refusal.value.http_status == 400
    assert refusal.value.as_dict() == {"code": number, "message": message}


def test_a_request_without_a_sid_asks_for_a_new_session() -> None:
    assert session_of(query("EIO=4"), {}) is None


@pytest.mark.parametrize("sid", ["", "x", "x" * 5000, "%00", "%FF%FE", "__proto__"])
def test_a_sid_that_nobody_has_is_refused(sid: str) -> None:
    with pytest.raises(HandshakeRefused) as refusal:
        session_of(query(f"sid={sid}"), {})
    assert refusal.value.as_dict() == {"code": 1, "message": "Session ID unknown"}


def test_only_what_is_the_applications_is_kept_of_a_query() -> None:
    kept = query("EIO=4&transport=polling&t=abc&sid=x&recovery=0&recovery=1&page=a%20b").kept()
    assert kept == {"recovery": "0", "page": "a b"}


def test_nothing_is_kept_of_a_query_that_is_too_long() -> None:
    assert query("page=" + "x" * 3000).kept() == {}
    assert query("EIO=4&transport=polling").kept() == {}
