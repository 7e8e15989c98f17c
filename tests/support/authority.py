"""A certificate authority of a test's own, by the openssl command."""
from namespaces import run

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_NEW_KEYS = {"ec": _NEW_KEY, "rsa": ("-newkey", "rsa:2048", "-nodes")}


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

    def issue(self, name, alternative, days=2, key_type="ec"):
        """A certificate with one alternative name ("URI:spiffe://..."), and its key; with negative days it has expired."""
        request, certificate, key = (self.directory / f"{name}.{kind}" for kind in ("csr", "pem", "key"))
        run(
            *(
                "openssl",
                "req",
                *_NEW_KEYS[key_type],
                "-subj",
                f"/CN={name}",
                "-addext",
                f"subjectAltName={alternative}",
            ),
            *("-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", request),
        )
        run(
            *("openssl", "x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._key, "-days", days),
            *("-copy_extensions", "copy", "-out", certificate),
        )
        return certificate, key

    def revoke(self, *certificates):
        """A list (CRL) with these and no others, as a file."""
        index, config, crl = (self.directory / name for name in ("index", "ca.cnf", "crl.pem"))
        index.write_text("".join(self._index_line(certificate, "R") for certificate in certificates))
        config.write_text(f"[ca]\ndefault_ca = own\n[own]\ndatabase = {index}\ndefault_md = sha256\n")
        run(
            *("openssl", "ca", "-gencrl", "-config", config, "-cert", self.ca, "-keyfile", self._key),
            *("-crldays", "2", "-out", crl),
        )
        return crl

    def ocsp_response(self, certificate):
        """That a certificate is good, by this authority: DER, as it is stapled."""
        index, response = self.directory / "ocsp-index", self.directory / "ocsp.der"
        index.write_text(self._index_line(certificate, "V"))
        run(
            *("openssl", "ocsp", "-index", index, "-CA", self.ca, "-issuer", self.ca, "-cert", certificate),
            *("-rsigner", self.ca, "-rkey", self._key, "-ndays", "1", "-respout", response),
        )
        return response.read_bytes()

    @staticmethod
    def _index_line(certificate, state):
        """A line of what openssl-ca(1) keeps of a certificate: state, notAfter, revocation time, serial, file, subject."""
        serial = run("openssl", "x509", "-in", certificate, "-noout", "-serial").stdout.strip().split("=")[1]
        revoked = "240101000000Z" if state == "R" else ""
        return f"{state}\t490101000000Z\t{revoked}\t{serial}\tunknown\t/CN={certificate.stem}\n"
