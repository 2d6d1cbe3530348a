"""The compose files and their mounts are complete, pinned, consistent and free of secrets.

No container engine is used. The files were also loaded once with compose-go, the library of `docker compose`.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from recalld_server.wiring.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
FILES = {path.name: yaml.safe_load(path.read_text()) for path in sorted(DEPLOY.glob("compose*.yaml"))}
ALONE, FLEET, WATCHED = (FILES[name] for name in ("compose.yaml", "compose.fleet.yaml", "compose.observability.yaml"))
SERVICES = [(file, name) for file, content in FILES.items() for name in content["services"]]
# What a server may be told besides its own settings.
OTHERS = {"PGPASSWORD", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_METRIC_EXPORT_INTERVAL"}
SECRET = re.compile(r"PASSWORD|_KEY$|SECRET|TOKEN")


def loaded(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def environment(service: dict[str, Any]) -> dict[str, Any]:
    return dict(service.get("environment", {}))


def test_there_are_three_files() -> None:
    assert set(FILES) == {"compose.yaml", "compose.fleet.yaml", "compose.observability.yaml"}


@pytest.mark.parametrize(("file", "name"), SERVICES)
def test_a_service_is_pinned_and_whole(file: str, name: str) -> None:
    service = FILES[file]["services"][name]
    if "image" in service:  # else it is laid over the one of another file
        tag = service["image"].rpartition(":")[2]
        assert re.fullmatch(r"v?\d+\.\d+(\.\d+)?(-[a-z]+)?", tag)
        assert name != "recalld" or tag == VERSION
    if build := service.get("build"):
        assert (DEPLOY / build["context"]).resolve() == ROOT
        assert (ROOT / build["dockerfile"]).is_file()
    volumes = FILES[file].get("volumes", {})
    for mount in service.get("volumes", []):
        source, target, *mode = mount.split(":")
        assert target.startswith("/")
        if source.startswith("."):
            assert (DEPLOY / source).is_file()
            assert mode == ["ro"]
        else:
            assert source in volumes
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")
    for network in service.get("networks", []):
        assert network == "default" or network in FILES[file]["networks"]
    for other in service.get("depends_on", {}):
        assert "healthcheck" in FILES[file]["services"][other]


@pytest.mark.parametrize(("file", "name"), SERVICES)
def test_secrets_come_from_outside(file: str, name: str) -> None:
    for variable, value in environment(FILES[file]["services"][name]).items():
        if SECRET.search(variable):
            assert value is None or re.fullmatch(r"\$\{[A-Z_]+:\?[a-z ]+\}", value), variable
    assert not re.search(r"://[^/@\s]*:[^/@\s]+@", (DEPLOY / file).read_text())


@pytest.mark.parametrize("file", FILES)
def test_servers_are_told_what_they_understand(file: str) -> None:
    told = environment(FILES[file]["services"]["recalld"])
    known = {f"RECALLD_{field.name.upper()}" for field in fields(Settings)}
    assert set(told) <= known | OTHERS
    given = {name.removeprefix("RECALLD_").lower(): value for name, value in told.items() if value is not None}
    Settings.read({name: value for name, value in given.items() if f"RECALLD_{name.upper()}" in known}, {})


def test_the_fleet_has_its_engines_where_the_servers_look() -> None:
    services = FLEET["services"]
    told = environment(services["recalld"])
    assert told["RECALLD_LEDGER"] == "postgresql://recalld@postgres:5432/recalld"
    assert told["RECALLD_INDEX"] == "weaviate://weaviate:8080?grpc_port=50051"
    assert {"postgres", "weaviate"} <= set(services["recalld"]["depends_on"])
    database = environment(services["postgres"])
    assert (database["POSTGRES_USER"], database["POSTGRES_DB"]) == ("recalld", "recalld")
    assert database["POSTGRES_PASSWORD"] == told["PGPASSWORD"]
    assert FLEET["networks"]["engines"]["internal"] is True
    for name in ("postgres", "weaviate"):
        assert services[name]["networks"] == ["engines"]
        assert "ports" not in services[name]
    assert services["recalld"]["deploy"]["replicas"] == 2


def test_a_servers_folder_is_the_images() -> None:
    [folder] = re.findall(r"^VOLUME (\S+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert ALONE["services"]["recalld"]["volumes"] == [f"data:{folder}"]
    assert any(mount.startswith(f"{folder}:uid=10001") for mount in FLEET["services"]["recalld"]["tmpfs"])


def test_figures_find_their_way() -> None:
    """Server → collector → Prometheus → Grafana: each speaks to where the next one listens."""
    collector, prometheus = loaded("collector.yaml"), loaded("prometheus.yaml")
    receiver = collector["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"]
    told = environment(WATCHED["services"]["recalld"])
    assert told["OTEL_EXPORTER_OTLP_ENDPOINT"] == f"http://collector:{receiver.rpartition(':')[2]}"
    exporter = collector["exporters"]["prometheus"]["endpoint"]
    [job] = prometheus["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"collector:{exporter.rpartition(':')[2]}"]}]
    assert job["honor_labels"] is True
    [source] = loaded("grafana/datasource.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    for signal in ("metrics", "traces"):
        pipeline = collector["service"]["pipelines"][signal]
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= set(collector[kind])
    interval = float(told["OTEL_METRIC_EXPORT_INTERVAL"]) / 1000
    assert prometheus["global"]["scrape_interval"] == f"{interval:.0f}s" == source["jsonData"]["timeInterval"]


def test_what_is_mounted_is_what_is_named() -> None:
    for name, flag in (("collector", "--config="), ("prometheus", "--config.file=")):
        service = WATCHED["services"][name]
        [named] = [argument.removeprefix(flag) for argument in service["command"] if argument.startswith(flag)]
        assert any(mount.split(":")[1] == named for mount in service["volumes"])
    [provider] = loaded("grafana/dashboards.yaml")["providers"]
    targets = [mount.split(":")[1] for mount in WATCHED["services"]["grafana"]["volumes"]]
    dashboard = environment(WATCHED["services"]["grafana"])["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert dashboard in targets
    assert dashboard.startswith(provider["options"]["path"] + "/")


def test_the_page_names_what_is_there() -> None:
    page = (DEPLOY / "README.md").read_text()
    commands = [line for line in page.splitlines() if line.startswith("docker compose ")]
    assert len(commands) >= 6
    for command in commands:
        for file in re.findall(r"-f (\S+)", command):
            assert (ROOT / file).is_file()
    table = re.findall(r"^\| (`.+?) \|", page, re.MULTILINE)
    named = {name.rstrip("/") for line in table for name in re.findall(r"`([^`]+)`", line)}
    assert named == {path.name for path in DEPLOY.iterdir()} - {"README.md"}
    variables = set(re.findall(r"^export (\w+)=", page, re.MULTILINE))
    files = "\n".join((DEPLOY / file).read_text() for file in FILES)
    assert variables == set(re.findall(r"\$\{(\w+):\?", files))
