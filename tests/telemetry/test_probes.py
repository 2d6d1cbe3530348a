"""The HTTP port: metrics, probes, and refused requests."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from recalld import testing
from recalld_server.telemetry import metric_names

MARKER = "zitherobsidian"


def get(server: testing.LocalServer, path: str, **headers: str) -> tuple[int, str]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(server.http_url + path, headers=given)  # noqa: S310 - our own server
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_are_those_of_the_one_list(plain: testing.LocalServer) -> None:
    with plain.client() as client:
        client.add(f"I collect {MARKER}", user_id="metrics")
        client.search(f"who collects {MARKER}?", user_id="metrics")
    status, text = get(plain, "/metrics")
    assert status == 200
    assert MARKER not in text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    kinds = {metric.prometheus: metric.kind for metric in metric_names.METRICS}
    created = {name for name in families if name.endswith("_created")}
    assert {name: family.type for name, family in families.items() if name not in created} == kinds
    labels = {
        metric.prometheus: {metric_names.label(name) for name in metric.labels} for metric in metric_names.METRICS
    }
    for name, expected in labels.items():
        for sample in families[name].samples:
            assert set(sample.labels) - {"le"} == expected
    calls = {
        (sample.labels["rpc_method"], sample.labels["rpc_response_status_code"]): sample.value
        for sample in families[metric_names.CALLS.prometheus].samples
        if sample.name.endswith("_count")
    }
    assert calls["recalld.v1.MemoryService/Add", "OK"] == 1
    assert calls["recalld.v1.SearchService/Search", "OK"] == 1
    [memory] = families[metric_names.MEMORY.prometheus].samples
    assert memory.value > 20 * 1024 * 1024 or sys.platform != "linux"
    assert {s.labels["recalld_stage"] for s in families[metric_names.STAGE_TIME.prometheus].samples} <= set(
        metric_names.STAGES
    )


def test_a_healthy_server_is_alive_and_ready(plain: testing.LocalServer) -> None:
    assert get(plain, "/healthz") == (200, "ok\n")
    status, body = get(plain, "/readyz")
    assert status == 200
    assert body == '{"ledger":true,"index":true,"model":true,"caught_up":true}'


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("Host", "evil.example", 403),
        ("Origin", "https://evil.example", 403),
        ("Origin", "null", 403),
        ("Origin", "http://[", 403),
        ("Host", "[", 403),
        ("Forwarded", "for=10.0.0.1", 403),
        ("X_Forwarded_For", "10.0.0.1", 403),
        ("Content_Type", "text/plain", 415),
        ("Origin", "http://localhost:3000", 200),
        ("Host", "[::1]:80", 200),
    ],
)
def test_only_this_machine_is_answered_without_keys(
    plain: testing.LocalServer, header: str, value: str, status: int
) -> None:
    assert get(plain, "/healthz", **{header: value})[0] == status


def test_with_keys_probes_ask_by_any_name() -> None:
    with testing.start_local() as server:
        assert get(server, "/readyz", Host="recalld-1:7421")[0] == 403
        command = [sys.executable, "-m", "recalld_server", "keys", "create", "--data-dir", str(server.data_dir)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        for _ in range(50):  # a key that another process made is noticed within half a second
            if get(server, "/readyz", Host="recalld-1:7421")[0] == 200:
                break
            time.sleep(0.1)
        for path in ("/healthz", "/readyz", "/metrics"):
            assert get(server, path, Host="recalld-1:7421", X_Forwarded_For="10.0.0.1")[0] == 200
