#!/usr/bin/env python3
"""Goal: the TLS of the server is as safe as sslyze knows to ask, for both versions and both record
layers: no other versions and suites than those that are documented, and none of the known attacks.

Method: sslyze, fetched from PyPI at test time into .tools/sslyze/ of the checkout, scans the real
binary on loopback; every answer that is expected is named here.
Run: python3 tests/tls/scan.py
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import venv

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE)]

from certificates import make  # noqa: E402
from ringway import ROOT, Server  # noqa: E402

TOOLS = ROOT / ".tools/sslyze"
PACKAGE = "sslyze==6.3.1"
SCAN_SECONDS_MAX = 120
# All but --resum, which takes a resumption for none where the ticket is renewed: run.py asks for it.
COMMANDS = """sslv2 sslv3 tlsv1 tlsv1_1 tlsv1_2 tlsv1_3 compression early_data openssl_ccs fallback
    heartbleed robot reneg elliptic_curves ems http_headers""".split()

NONE = frozenset()
SUITES_1_3 = frozenset({"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                        "TLS_CHACHA20_POLY1305_SHA256"})
# The certificate is one of ECDSA.
SUITES_1_2 = frozenset({"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
                        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
                        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"})
CURVES = frozenset({"X25519", "secp256r1", "secp384r1"})

# Settings of http_server.tls, and the suites of TLS 1.2 with them.
SERVERS = [
    ("default", {}, NONE),
    ("with 1.2", {"min_version": "1.2"}, SUITES_1_2),
    ("record layer of rustls", {"min_version": "1.2", "record_layer": "rustls"}, SUITES_1_2),
]


def prepare():
    """Fetches sslyze if it is missing; returns its command."""
    ready = TOOLS / "ready"
    if not ready.exists() or ready.read_text() != PACKAGE:
        venv.create(TOOLS / "venv", with_pip=True, clear=True)
        pip = [TOOLS / "venv/bin/python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", PACKAGE], check=True)
        ready.write_text(PACKAGE)
    return TOOLS / "venv/bin/sslyze"


def scan(sslyze, server, folder):
    """What sslyze found, by the names that it gives."""
    file = pathlib.Path(folder) / "scan.json"
    commands = [f"--{command}" for command in COMMANDS]
    words = [sslyze, "--quiet", "--mozilla_config=disable", "--sni", "one.example", "--json_out", file]
    subprocess.run([*words, *commands, f"127.0.0.1:{server.port}"], check=True,
                   timeout=SCAN_SECONDS_MAX, stdout=subprocess.DEVNULL)
    [result] = json.loads(file.read_text())["server_scan_results"]
    if result["scan_status"] != "COMPLETED":
        raise AssertionError(result["connectivity_error_trace"])
    return {name: found["result"] for name, found in result["scan_result"].items()
            if found["status"] != "NOT_SCHEDULED"}


def suites(found, version):
    accepted = found[f"{version}_cipher_suites"]["accepted_cipher_suites"]
    return frozenset(suite["cipher_suite"]["name"] for suite in accepted)


def answers(found, suites_1_2):
    """Each question, sslyze's answer, and the one that is right."""
    for version in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"):
        yield version, suites(found, version), NONE
    yield "tls_1_2", suites(found, "tls_1_2"), suites_1_2
    yield "tls_1_3", suites(found, "tls_1_3"), SUITES_1_3
    curves = found["elliptic_curves"]["supported_curves"]
    yield "curves", frozenset(curve["name"] for curve in curves), CURVES
    for name, answer, right in [
        ("compression", found["tls_compression"]["supports_compression"], False),
        ("early data", found["tls_1_3_early_data"]["supports_early_data"], False),
        ("CCS injection", found["openssl_ccs_injection"]["is_vulnerable_to_ccs_injection"], False),
        ("fallback SCSV", found["tls_fallback_scsv"]["supports_fallback_scsv"], True),
        ("Heartbleed", found["heartbleed"]["is_vulnerable_to_heartbleed"], False),
        ("ROBOT", found["robot"]["robot_result"], "NOT_VULNERABLE_RSA_NOT_SUPPORTED"),
        ("renegotiation by clients",
         found["session_renegotiation"]["is_vulnerable_to_client_renegotiation_dos"], False),
        ("extended master secret",
         found["tls_extended_master_secret"]["supports_ems_extension"], True),
        ("HSTS", found["http_headers"]["strict_transport_security_header"] is not None, True),
    ]:
        yield name, answer, right


def main():
    sslyze = prepare()
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="ringway-scan-") as folder:
        chain, key = make(folder, "one", "one.example", "127.0.0.1")
        for name, changes, suites_1_2 in SERVERS:
            tls = {"enabled": True, "cert_pem": str(chain), "key_pem": str(key), **changes}
            with Server("echo.json", {"http_server": {"tls": tls}}, cafile=chain) as server:
                found = scan(sslyze, server, folder)
                if not server.is_alive:
                    raise AssertionError(f"the server ended:\n{server.log}")
            for question, answer, right in answers(found, suites_1_2):
                passed, failed = passed + (answer == right), failed + (answer != right)
                if answer != right:
                    print(f"FAILED  {name}: {question}: {answer} and not {right}", flush=True)
            print(f"scanned {name}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
