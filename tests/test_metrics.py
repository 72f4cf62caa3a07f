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
    labels = {
        label for metric in vars(Metrics()).values() for label in getattr(metric, "_labelnames", ())
    }
    assert labels <= {"event", "code", "rate", "route", "status", "transport", "reason"}
