"""TLS, mutual TLS, and addresses that a server refuses to listen on."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

import grpc
import pytest

import recalld
from recalld import MemoryClient, testing

HEALTH = Path(__file__).parents[2] / "deploy" / "health.py"


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=30)


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and a server's and a client's certificate of it."""
    folder = tmp_path_factory.mktemp("pems")
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    ca = folder / "ca.pem"
    openssl("req", "-x509", *new, "-subj", "/CN=test authority", "-keyout", folder / "ca.key", "-out", ca)
    for name in ("server", "client"):
        names = folder / f"{name}.ext"
        names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        asked, key = folder / f"{name}.csr", folder / f"{name}.key"
        openssl("req", *new[:-2], "-subj", f"/CN={name}", "-keyout", key, "-out", asked)
        signed = ("-CA", ca, "-CAkey", folder / "ca.key", "-CAcreateserial", "-days", "2", "-extfile", names)
        openssl("x509", "-req", "-in", asked, *signed, "-out", folder / f"{name}.pem")
    return folder


def test_tls(pems: Path) -> None:
    arguments = [f"--tls-cert={pems / 'server.pem'}", f"--tls-key={pems / 'server.key'}"]
    with testing.start_local(arguments=arguments, tls=pems / "ca.pem") as server:
        with server.client() as client:
            client.add("I like tea", user_id="alex", infer=False)
            assert len(client.get_all(user_id="alex")) == 1
        assert server.http_url.startswith("https://127.0.0.1:")
        trusted = ssl.create_default_context(cafile=pems / "ca.pem")
        with server.client() as client:
            client.search("tea", user_id="alex")  # answered once the server is ready
        with urllib.request.urlopen(f"{server.http_url}/readyz", timeout=10, context=trusted) as answer:  # noqa: S310
            assert answer.status == 200
        port = {"RECALLD_HTTP_PORT": server.http_url.rpartition(":")[2]}
        for more, status in (({"RECALLD_TLS_CERT": "set"}, 0), ({}, 1)):  # the image's health check, told of it and not
            assert subprocess.run([sys.executable, HEALTH], env=port | more, timeout=30).returncode == status
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(f"{server.http_url}/readyz", timeout=10)  # noqa: S310
        with pytest.raises((OSError, http.client.HTTPException)):
            urllib.request.urlopen(server.http_url.replace("https", "http") + "/readyz", timeout=10)  # noqa: S310
        for tls in (False, True):  # in the clear, and trusting other authorities
            with MemoryClient(server.target, "", tls=tls, timeout=2) as client, pytest.raises(recalld.RecalldError):
                client.get_all(user_id="alex")


def test_the_command_line_over_tls(pems: Path, tmp_path: Path) -> None:
    arguments = [f"--tls-cert={pems / 'server.pem'}", f"--tls-key={pems / 'server.key'}"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RECALLD_")}
    out = tmp_path / "out.jsonl"

    def recalld_command(*given: object, **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "recalld_server", *map(str, given)]
        return subprocess.run(command, env=clean | env, capture_output=True, text=True, timeout=60, check=False)

    with testing.start_local(arguments=arguments, tls=pems / "ca.pem") as server:
        made = recalld_command("keys", "create", "--role", "admin", "--data-dir", server.data_dir)
        secret = next(word for word in made.stdout.split() if word.startswith("rk_"))
        env = {"RECALLD_TARGET": server.target, "RECALLD_API_KEY": secret}
        authority = ("--tls-ca", pems / "ca.pem")
        commands: list[tuple[object, ...]] = [
            ("add", "I like tea", "--user", "alex", "--verbatim"),
            ("search", "tea", "--user", "alex"),
            ("export", out, "--user", "alex"),
            ("import", out),
            ("keys", "list", "--project", "default", "--target", server.target),
            ("demo", "--target", server.target),
        ]
        for command in commands:
            done = recalld_command(*command, *authority, **env)
            assert done.returncode == 0, (command, done.stderr)
        by_name = recalld_command("search", "tea", "--user", "alex", **env, RECALLD_TLS_CA=str(pems / "ca.pem"))
        assert "I like tea" in by_name.stdout
        clear = recalld_command("search", "tea", "--user", "alex", "--no-tls", **env)
        assert (clear.returncode, clear.stdout) == (1, "")


def presented(address: str, authority: Path) -> str:
    """The common name of the certificate that is shown at host:port to somebody who trusts the authority."""
    host, _, port = address.rpartition(":")
    trusted = ssl.create_default_context(cafile=authority)
    trusted.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection((host, int(port)), 10) as plain,
        trusted.wrap_socket(plain, server_hostname=host) as c,
    ):
        shown = c.getpeercert()
    assert shown
    return dict(field for part in shown["subject"] for field in part)["commonName"]


def test_a_new_certificate_is_used_without_a_restart(pems: Path, tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def put(name: str, of: str) -> None:
        for source, to in ((pems / f"{name}.pem", cert), (pems / f"{of}.key", key)):
            written = tmp_path / "written"
            written.write_bytes(source.read_bytes())
            written.replace(to)

    put("server", "server")
    authority = pems / "ca.pem"
    arguments = [f"--tls-cert={cert}", f"--tls-key={key}"]
    with testing.start_local(arguments=arguments, tls=authority) as server, server.client() as client:
        addresses = (server.target, server.http_url.removeprefix("https://"))
        assert [presented(address, authority) for address in addresses] == ["server", "server"]
        put("client", "client")
        assert [presented(address, authority) for address in addresses] == ["client", "client"]
        client.add("I like tea", user_id="alex", infer=False)  # a connection made before goes on
        put("server", "client")  # no pair
        assert [presented(address, authority) for address in addresses] == ["client", "client"]
        key.unlink()
        assert [presented(address, authority) for address in addresses] == ["client", "client"]
        put("server", "server")
        assert [presented(address, authority) for address in reversed(addresses)] == ["server", "server"]


def test_mutual_tls(pems: Path) -> None:
    arguments = [f"--tls-{name}={pems / file}" for name, file in (("cert", "server.pem"), ("key", "server.key"))]
    mine = grpc.ssl_channel_credentials(
        *((pems / file).read_bytes() for file in ("ca.pem", "client.key", "client.pem"))
    )
    with testing.start_local(arguments=[*arguments, f"--tls-client-ca={pems / 'ca.pem'}"], tls=mine) as server:
        with server.client() as client:
            assert client.get_all(user_id="alex") == []
        trusted = ssl.create_default_context(cafile=pems / "ca.pem")  # a probe has no certificate to show
        with urllib.request.urlopen(f"{server.http_url}/healthz", timeout=10, context=trusted) as answer:  # noqa: S310
            assert answer.status == 200
        with (
            MemoryClient(server.target, "", tls=pems / "ca.pem", timeout=2) as client,
            pytest.raises(recalld.RecalldError),
        ):
            client.get_all(user_id="alex")


def refused(*arguments: str | Path) -> str:
    """Why `recalld serve` does not start."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RECALLD_")}
    done = subprocess.run(
        [sys.executable, "-m", "recalld_server", "serve", "--grpc-port=0", *map(str, arguments)],
        env=inherited,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stderr


def test_other_machines_are_answered_only_with_keys_and_tls(tmp_path: Path, pems: Path) -> None:
    folder, anywhere = f"--data-dir={tmp_path}", "--host=0.0.0.0"
    tls = (f"--tls-cert={pems / 'server.pem'}", f"--tls-key={pems / 'server.key'}")
    assert "recalld keys create" in refused(folder, anywhere, *tls, "--insecure-no-tls")
    subprocess.run([sys.executable, "-m", "recalld_server", "keys", "create", "--new", folder], check=True, timeout=60)
    assert "--tls-cert" in refused(folder, anywhere)
    assert "both" in refused(folder, anywhere, tls[0])
    assert "server.pem" in refused(folder, anywhere, tls[0], f"--tls-key={pems / 'client.key'}")
    assert "--tls-client-ca" in refused(folder, *tls, f"--tls-client-ca={pems / 'none.pem'}")
