"""A vendor's certificate is always verified: no setting, no environment, no redirect switches it off."""

from __future__ import annotations

import datetime
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sync_worker import config, doctor
from sync_worker.broker import connect
from sync_worker.connectors.answers import Answer, status_error
from sync_worker.connectors.http import VendorHttp
from sync_worker.errors import ConfigError, SyncError, SystemUnavailable

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.2"  # this machine, under an address for which the environment counts
OFF = (
    {},
    {"PYTHONHTTPSVERIFY": "0", "NODE_TLS_REJECT_UNAUTHORIZED": "0", "SSL_VERIFY": "0", "SSL_CERT_VERIFY": "false"},
    {"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": "", "HTTPX_VERIFY": "0", "VERIFY": "false", "SYNC_TLS_VERIFY": "0"},
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for ``HOST`` that nobody has signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vendor")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(hours=1))
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))])
    signed = made.add_extension(names, critical=False).sign(key, hashes.SHA256())
    plain = serialization.NoEncryption()
    file = tmp_path_factory.mktemp("tls") / "vendor.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return file


@pytest.fixture
def vendor(certificate: Path) -> Iterator[str]:
    """An HTTPS server that answers everything; its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server((HOST, 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(plain, server_side=True) as secure:
                    secure.recv(65536)
                    secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
            except OSError:
                plain.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"https://{HOST}:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def classify(answer: Answer) -> SyncError | None:
    return status_error("", answer)


def ask(url: str) -> int:
    http = VendorHttp("erp", url, classify=classify, tries=1)
    try:
        return http.call("read", "GET", "x").status
    finally:
        http.close()


@pytest.mark.parametrize("environment", OFF)
def test_a_certificate_that_nobody_vouches_for_is_refused_whatever_the_environment_says(
    vendor: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemUnavailable, match=r"not reached: .*CERTIFICATE_VERIFY_FAILED"):
        ask(vendor)


def test_an_address_where_no_tls_is_spoken_is_said_in_words() -> None:
    with socket.create_server((HOST, 0)) as listener:

        def serve() -> None:
            plain, _ = listener.accept()
            with plain:
                plain.recv(65536)
                plain.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(SystemUnavailable) as refused:
            ask(f"https://{HOST}:{listener.getsockname()[1]}")
        thread.join()
    assert str(refused.value) == "not reached: no TLS is spoken there; http:// instead of https://, or another port?"


def test_a_company_s_own_authority_is_named_by_ssl_cert_file(
    vendor: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert ask(vendor) == 200


@pytest.mark.parametrize("option", ["ssl_cert_reqs=none", "ssl_cert_reqs=Optional", "ssl_check_hostname=False"])
def test_a_queue_server_s_certificate_cannot_be_left_unverified(option: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config.parse("", {"REDIS_URL": f"rediss://:hunter22@queue.test/0?db=1&{option}"})
    name = option.partition("=")[0]
    assert str(refused.value) == (
        f"sync.toml: queue.url (from REDIS_URL): {name} would leave the server's certificate unverified; "
        "name its authority: ssl_ca_certs"
    )


def test_a_queue_server_s_certificate_is_verified_by_itself_and_its_authority_can_be_named() -> None:
    for url in ("rediss://queue.test/0", "rediss://queue.test/0?ssl_ca_certs=/etc/ca.pem&ssl_cert_reqs=required"):
        known = connect(config.parse("", {"REDIS_URL": url}).queue.url or "").connection_pool.connection_kwargs
        made = redis.SSLConnection(**{name: value for name, value in known.items() if name != "retry"})
        assert made.cert_reqs == ssl.CERT_REQUIRED and made.check_hostname is True


def test_no_line_of_ours_switches_verification_off_and_no_setting_could() -> None:
    words = re.compile(r"\bverify\s*=|CERT_NONE|check_hostname|_create_unverified|cert_reqs|disable_warnings")
    files = [file for folder in ("sync_worker", "handlers", "mappings") for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 200
    refusal = re.compile(r"^_VERIFIES = .*$", re.MULTILINE)  # what may not be said has to be named there
    assert [file for file in files if words.search(refusal.sub("", file.read_text(encoding="utf-8")))] == []
    for key in ("verify", "tls", "insecure", "verify_tls", "ssl"):
        with pytest.raises(config.ConfigError, match="unknown key"):
            config.parse(f'[systems.crm]\nconnector = "sage_crm"\nusername = "u"\npassword = "p"\n{key} = false\n')


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://crm.lan/x", True),
        ("http://10.0.0.7/x", True),
        ("https://crm.lan/x", False),
        ("http://127.0.0.1/x", False),
    ],
)
def test_doctor_says_when_a_password_travels_readably(url: str, warned: bool) -> None:
    check = doctor._plain("crm", url)
    assert (check is not None) == warned
    if check is not None:
        assert check.ok
        assert check.detail == "http:// sends password and customers readably over the network"
        assert check.fix == "https:// in systems.crm.base_url"
