"""What is counted, and how it is shown."""

import re

from prometheus_client.parser import text_string_to_metric_families

from gtower_realtime.metrics import Metrics


def test_the_exposition_can_be_parsed_and_shows_what_was_counted() -> None:
    metrics = Metrics()
    metrics.clients.set(3)
    metrics.events_published.labels("notification").inc()
    metrics.deliveries.inc(7)
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
    }
    assert samples["gtower_clients",] == 3
    assert samples["gtower_events_published_total", "notification"] == 1
    assert samples["gtower_deliveries_total",] == 7


def test_every_metric_has_the_prefix_and_a_sentence() -> None:
    for family in Metrics().registry.collect():
        assert re.fullmatch(r"gtower_[a-z_]+[a-z]", family.name)
        assert family.documentation


def test_two_servers_in_a_process_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.deliveries.inc()
    assert first.registry.get_sample_value("gtower_deliveries_total") == 1
    assert second.registry.get_sample_value("gtower_deliveries_total") == 0


def test_nobody_is_named_by_a_label() -> None:
    labels = {label for row in Metrics().rows() for label in row.labels}
    closed = {"event", "code", "rate", "route", "status", "transport", "reason", "outcome"}
    assert labels == closed | {"protocol", "version", "python"}


def test_the_rows_are_what_the_exposition_has() -> None:
    metrics = Metrics()
    exposed = re.findall(r"^# TYPE (\w+) (\w+)$", metrics.exposition().decode(), re.M)
    assert [(row.name, row.kind) for row in metrics.rows()] == exposed


def test_what_is_known_by_looking_is_looked_at_first() -> None:
    metrics = Metrics()
    looks: list[int] = []

    def look() -> None:
        looks.append(len(looks))
        metrics.rooms.set(len(looks))

    metrics.when_asked(look)
    assert b"\ngtower_rooms 1.0\n" in metrics.exposition()
    assert b"\ngtower_rooms 2.0\n" in metrics.exposition()


def test_traffic_is_shown_by_protocol() -> None:
    metrics = Metrics()
    metrics.http_traffic.received += 3
    metrics.websocket_traffic.sent += 5
    value = metrics.registry.get_sample_value
    assert value("gtower_received_bytes_total", {"protocol": "http"}) == 3
    assert value("gtower_received_bytes_total", {"protocol": "websocket"}) == 0
    assert value("gtower_sent_bytes_total", {"protocol": "http"}) == 0
    assert value("gtower_sent_bytes_total", {"protocol": "websocket"}) == 5
