"""Certificates of tests, made by openssl."""

import pathlib
import subprocess


def make(folder, name, *hosts, days="10"):
    """Writes NAME.pem and NAME.key for these hosts; a host that is a number is an address."""
    folder = pathlib.Path(folder)
    names = ",".join(f"{'IP' if host[0].isdigit() else 'DNS'}:{host}" for host in hosts)
    chain, key, request = (folder / f"{name}{end}" for end in (".pem", ".key", ".csr"))
    extensions = folder / f"{name}.ext"
    extensions.write_text(f"subjectAltName={names}\nbasicConstraints=critical,CA:FALSE\n")
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", f"/CN={hosts[0]}", "-keyout", key, "-out", request)
    openssl("x509", "-req", "-in", request, "-signkey", key, "-days", days, "-extfile", extensions,
            "-out", chain)
    return chain, key


def openssl(*arguments, **options):
    return subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True,
                          timeout=20, **options)
