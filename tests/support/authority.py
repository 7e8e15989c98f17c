"""A certificate authority of a test's own, by the openssl command."""
from namespaces import run

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Authority:
    """Its files are in `directory`, which it makes; `ca` is its own certificate."""

    def __init__(self, directory):
        directory.mkdir()
        self.directory = directory
        self.ca, self._key = directory / "ca.pem", directory / "ca.key"
        run(
            *("openssl", "req", "-x509", *_NEW_KEY, "-days", "2", "-subj", f"/CN={directory.name}"),
            *("-keyout", self._key, "-out", self.ca),
        )

    def issue(self, name, alternative, days=2):
        """A certificate with one alternative name ("URI:spiffe://..."), and its key; with negative days it has expired."""
        request, certificate, key = (self.directory / f"{name}.{kind}" for kind in ("csr", "pem", "key"))
        run(
            *("openssl", "req", *_NEW_KEY, "-subj", f"/CN={name}", "-addext", f"subjectAltName={alternative}"),
            *("-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", request),
        )
        run(
            *("openssl", "x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._key, "-days", days),
            *("-copy_extensions", "copy", "-out", certificate),
        )
        return certificate, key
