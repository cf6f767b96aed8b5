"""The certificate of a server that is measured over TLS."""

import subprocess


def settings(folder):
    """`http_server.tls` with a certificate of its own for localhost (ECDSA P-256), made in `folder`."""
    chain, key = folder / "cert.pem", folder / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    words += ["-noenc", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    words += ["-addext", "basicConstraints=critical,CA:FALSE", "-days", "365"]
    subprocess.run([*words, "-keyout", key, "-out", chain], check=True, capture_output=True)
    return {"enabled": True, "cert_pem": str(chain), "key_pem": str(key)}
