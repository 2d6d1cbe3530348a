"""Each query of the dashboard parses and finds series in the metrics of a server that was called."""

from __future__ import annotations

import json
import re
import urllib.request
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from recalld import testing
from recalld.errors import NotFound, Overloaded

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"
DASHBOARD = json.loads((GRAFANA / "recalld.json").read_text())
PANELS = DASHBOARD["panels"]
QUERIES = [(panel["title"], target["expr"], target["legendFormat"]) for panel in PANELS for target in panel["targets"]]
VARIABLES = {"$__rate_interval": "1m", "$instance": ".*"}  # what Grafana puts there
SCRAPED = {"job", "instance"}  # labels every series has once Prometheus has it
LONGEST = 150  # lines of a dashboard that a hand can keep
Series = Mapping[str, Sequence[Mapping[str, str]]]


@pytest.fixture(scope="module")
def series() -> Series:
    """Label sets by name of sample, from /metrics, after calls of each kind; one was not found, some were too many."""
    with testing.start_local(env={"RECALLD_RATE_LIMIT": "20"}) as server, server.client() as client:
        added = client.add("Is a vegetarian", user_id="ann", infer=False)
        client.search("What does Ann eat?", user_id="ann")
        client.get(added[0]["id"])
        with pytest.raises(NotFound):
            client.get("01890000-0000-7000-8000-000000000000")
        for _ in range(60):
            with suppress(Overloaded):
                client.get_all(user_id="ann")
        with urllib.request.urlopen(f"{server.http_url}/metrics", timeout=10) as answer:  # noqa: S310 - our own server
            text = answer.read().decode()
    found: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name].append(sample.labels)
    return found


def parsed(query: str) -> promql_parser.Expr:
    for variable, value in VARIABLES.items():
        query = query.replace(variable, value)
    return promql_parser.parse(query)


def nodes(query: str, kind: type) -> list[Any]:
    found: list[Any] = []

    def visit(node: Any) -> None:
        if isinstance(node, kind):
            found.append(node)

    promql_parser.walk(parsed(query), pre_visit=visit)
    return found


def fits(labels: Mapping[str, str], matcher: Any) -> bool:
    """Whether a series of /metrics passes a matcher; what scraping adds passes any."""
    if matcher.name in SCRAPED:
        return True
    if matcher.name not in labels:
        return False
    same = labels[matcher.name] == matcher.value
    like = re.fullmatch(matcher.value, labels[matcher.name]) is not None
    return {"Equal": same, "NotEqual": not same, "Re": like, "NotRe": not like}[str(matcher.op).rpartition(".")[2]]


def chosen(selector: Any, series: Series) -> list[Mapping[str, str]]:
    return [
        labels for labels in series.get(selector.name, ()) if all(fits(labels, m) for m in selector.matchers.matchers)
    ]


@pytest.mark.parametrize(("title", "query", "legend"), QUERIES)
def test_a_query_finds_series(title: str, query: str, legend: str, series: Series) -> None:
    selectors = nodes(query, promql_parser.VectorSelector)
    assert selectors
    labels: set[str] = set(SCRAPED)
    for selector in selectors:
        found = chosen(selector, series)
        assert found, f"{title}: nothing for {selector.prettify()}"
        labels |= set(found[0])
    grouped = [
        label for each in nodes(query, promql_parser.AggregateExpr) if each.modifier for label in each.modifier.labels
    ]
    assert set(grouped) <= labels
    named = set(re.findall(r"{{(\w+)}}", legend))
    assert named <= (set(grouped) if nodes(query, promql_parser.AggregateExpr) else labels)


def test_a_counter_is_read_by_its_rate() -> None:
    """And a gauge is not: the mistake every dashboard makes once."""
    for title, query, _ in QUERIES:
        assert nodes(query, promql_parser.VectorSelector), title
        rated = {node.vector_selector.name for node in nodes(query, promql_parser.MatrixSelector)}
        counts = re.compile(r".*_(total|count|sum|bucket)")
        for selector in nodes(query, promql_parser.VectorSelector):
            assert (selector.name in rated) == bool(counts.fullmatch(selector.name)), title


@pytest.mark.parametrize(
    "query",
    [
        "sum by (nothing) (recalld_index_lag)",
        "recalld_no_such_metric",
        'rate(rpc_server_call_duration_seconds_count{rpc_response_status_code="NO_SUCH"}[1m])',
        'rate(rpc_server_call_duration_seconds_count{rpc_metod!=""}[1m])',
    ],
)
def test_a_wrong_query_is_noticed(query: str, series: Series) -> None:
    with pytest.raises(AssertionError):
        test_a_query_finds_series("wrong", query, "", series)


def test_it_shows_what_an_operator_asks_for() -> None:
    """Every figure the design names has its panel."""
    text = "\n".join(query for _, query, _ in QUERIES)
    for name in (
        *("rpc_server_call_duration_seconds_count", "rpc_response_status_code", "recalld_admission_refused_total"),
        *("rpc_server_call_duration_seconds_bucket", "recalld_stage_duration_seconds_bucket"),
        *("recalld_index_lag", "recalld_index_pending", "recalld_queue_depth", "recalld_embedder_batch_bucket"),
        *(
            "process_memory_usage_bytes",
            "embed|index|ledger|rank",
            "histogram_quantile(0.5,",
            "histogram_quantile(0.99,",
        ),
    ):
        assert name in text


def test_it_is_whole_and_of_a_size_to_keep() -> None:
    [source] = yaml.safe_load((GRAFANA / "datasource.yaml").read_text())["datasources"]
    [variable] = DASHBOARD["templating"]["list"]
    assert {each["datasource"]["uid"] for each in (*PANELS, variable)} == {source["uid"]}
    assert len({panel["id"] for panel in PANELS}) == len({panel["title"] for panel in PANELS}) == len(PANELS)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in PANELS}
    assert len(places) == len(PANELS)
    assert len((GRAFANA / "recalld.json").read_text().splitlines()) <= LONGEST
    assert variable["query"].startswith("label_values(process_memory_usage_bytes")
