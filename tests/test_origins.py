import pytest

from gtower_realtime.origins import OriginPolicy

LISTED = OriginPolicy(
    ["https://App.example.com/", "https://*.example.org", "http://localhost:5173"]
)


def test_a_request_without_an_origin_passes() -> None:
    assert LISTED.allows(None)


def test_the_star_lets_every_page_in_even_one_opened_from_disk() -> None:
    assert OriginPolicy(["*"]).allows("https://anywhere.example")
    assert OriginPolicy(["*"]).allows("null")


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example.com",
        "HTTPS://APP.EXAMPLE.COM",
        "https://a.example.org",
        "https://a_b.c-d.example.org",
        "http://localhost:5173",
    ],
)
def test_a_listed_origin_passes(origin: str) -> None:
    assert LISTED.allows(origin)


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example",
        "https://app-example.com",
        "https://example.org",
        "https://evilexample.org",
        "https://.example.org",
        "https://a.exampleXorg",
        "https://evil.example/.example.org",
        "https://a.example.org:444",
        "https://a.example.org\n",
        "http://localhost",
    ],
)
def test_any_other_origin_is_refused(origin: str) -> None:
    assert not LISTED.allows(origin)


def test_an_origin_longer_than_any_host_name_is_refused_before_it_is_matched() -> None:
    assert not LISTED.allows("https://" + "a." * 200 + "example.org")


def test_the_port_that_browsers_leave_out_may_be_listed() -> None:
    policy = OriginPolicy(["https://a.example:443", "http://b.example:80/", "http://c.example:443"])
    assert policy.allows("https://a.example")
    assert policy.allows("http://b.example")
    assert policy.allows("http://c.example:443")


def test_without_any_listed_origin_no_page_passes() -> None:
    assert not OriginPolicy([]).allows("https://app.example.com")


def test_answers_to_everybody_do_not_take_credentials() -> None:
    assert OriginPolicy(["*"]).response_headers("https://a.example") == {
        "Access-Control-Allow-Origin": "*"
    }


def test_answers_to_a_listed_origin_name_it_and_take_credentials() -> None:
    assert LISTED.response_headers("https://a.example.org") == {
        "Vary": "Origin",
        "Access-Control-Allow-Origin": "https://a.example.org",
        "Access-Control-Allow-Credentials": "true",
    }


@pytest.mark.parametrize("origin", [None, "https://evil.example"])
def test_other_answers_only_say_that_they_vary(origin: str | None) -> None:
    assert LISTED.response_headers(origin) == {"Vary": "Origin"}
