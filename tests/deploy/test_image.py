"""The steps of the image without a container engine: copied files suffice, the installation runs, health is checked."""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from recalld import testing

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text().replace("\\\n", " ")
STEPS = [line.split(maxsplit=1) for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]
IGNORE = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().split()
HEALTH = ROOT / "deploy" / "health.py"
DEAD_PORT = "1"


def steps(name: str) -> list[str]:
    return [rest for word, rest in STEPS if word == name]


def copied() -> list[tuple[str, str]]:
    """(path in the checkout, path in the image) of each COPY from the checkout."""
    found = []
    for line in steps("COPY"):
        *sources, target = line.split()
        if not line.startswith("--from"):
            found += [(one, target + Path(one).name if target.endswith("/") else target) for one in sources]
    return found


def test_it_is_pinned_and_not_root() -> None:
    bases = {line.split()[0] for line in steps("FROM")}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", bases.pop())
    [user] = steps("USER")
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)
    assert f"--uid {user.partition(':')[0]} " in DOCKERFILE
    assert [word for word, _ in STEPS].index("USER") < [word for word, _ in STEPS].index("ENTRYPOINT")


def test_what_it_copies_is_there_and_not_ignored() -> None:
    assert IGNORE[0] == "*"
    allowed = {line.removeprefix("!") for line in IGNORE if line.startswith("!")}
    for source, _ in copied():
        assert (ROOT / source).exists()
        assert source in allowed
    assert all((ROOT / path).exists() for path in allowed)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's files below a folder, made by its own COPY and RUN lines of the build stage. Takes half a minute."""
    image = tmp_path_factory.mktemp("image")
    ignored = [line.removeprefix("**/") for line in IGNORE if line.startswith("**/")]
    for source, target in copied():
        place = image / target.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns(*ignored))
        else:
            shutil.copy(ROOT / source, place)
    [install] = [line for line in steps("RUN") if "install.sh" in line]
    command = [str(image) + word if word.startswith("/") else word for word in shlex.split(install)]
    python = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PIP_NO_COMPILE": "1"}
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, env={**inherited, **python}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return image


def test_it_serves_and_tells_its_health(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server, the command and the probe of the image, in its virtual environment."""
    python = next(installed.glob("opt/recalld/bin/python3"))
    assert not any(fnmatch.fnmatch(path.name, "pip-*") for path in python.parents[1].glob("lib/*/site-packages/*"))
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("RECALLD_", "PYTHON"))}
    command = [installed / "opt/recalld/bin/recalld", "--help"]
    assert "serve" in subprocess.run(command, env=clean, capture_output=True, text=True, timeout=60, check=True).stdout
    where = [python, "-c", "import recalld_server as s, recalld as c; print(s.__file__, c.__file__)"]
    found = subprocess.run(where, env=clean, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    assert all(Path(file).is_relative_to(installed / "opt/recalld") for file in found)
    monkeypatch.setattr(sys, "executable", str(python))  # what start_local runs
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with testing.start_local(tmp_path) as server:
        with server.client() as client:
            client.add("Is a vegetarian", user_id="ann", infer=False)
            assert len(client.search("What does Ann eat?", user_id="ann")) == 1
        port = server.http_url.rpartition(":")[2]
        assert probe(installed, port) == 0
        assert probe(installed, DEAD_PORT) == 1
    assert probe(installed, port) == 1


def probe(image: Path, port: str) -> int:
    """The status of the image's HEALTHCHECK, asked with a proxy in the way."""
    [line] = steps("HEALTHCHECK")
    words = re.findall(r'"([^"]+)"', line.partition("CMD")[2])
    assert words[0] == "python"
    env = {"RECALLD_HTTP_PORT": port, "http_proxy": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"}
    command = [str(image / "opt/recalld/bin/python"), str(image) + words[1]]
    return subprocess.run(command, env=env, capture_output=True, timeout=30).returncode


def test_it_stops_as_a_container_is_stopped() -> None:
    """The entry point is the program itself: a shell in between would keep SIGTERM from it."""
    assert steps("ENTRYPOINT") == ['["recalld"]']
    assert steps("CMD") == ['["serve"]']
