"""Certificates for 127.0.0.1, ::1 and for clients, made when a test needs TLS."""

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_PLAIN = serialization.NoEncryption()


class Authority:
    """Signs certificates, its own first."""

    def __init__(self, name: str = "fake API server") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = self._signed(self._name, self._key.public_key(), is_authority=True)

    def write(self, certificate: Path) -> None:
        """Write its own certificate."""
        _replace(certificate, self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, certificate: Path, key: Path) -> None:
        """Write a new certificate, good for 127.0.0.1, ::1 and for a client, and its key."""
        made = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signed = self._signed(subject, made.public_key(), is_authority=False)
        _replace(certificate, signed.public_bytes(serialization.Encoding.PEM))
        _replace(key, _pem_of(made))

    def write_key(self, key: Path) -> None:
        """Write the key of its own certificate."""
        _replace(key, _pem_of(self._key))

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, is_authority: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        hosts = [x509.IPAddress(ipaddress.ip_address(host)) for host in ("127.0.0.1", "::1")]
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )


def write_certificate(directory: Path) -> Path:
    """Write `ca.crt` and `server.key` into `directory`; the path of the certificate, which is its own authority."""
    authority, path = Authority(), directory / "ca.crt"
    authority.write(path)
    authority.write_key(directory / "server.key")
    return path


def server_context(certificate: Path) -> ssl.SSLContext:
    """TLS for a server with the certificate that `write_certificate` made."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("server.key"))
    return context


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, _PLAIN)


def _replace(path: Path, content: bytes) -> None:
    """As rotation does it: never half a file."""
    part = path.with_name(f".{path.name}")
    part.write_bytes(content)
    part.rename(path)
