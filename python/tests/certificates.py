"""Certificates for tests of services: `certificates.py FOLDER` writes those of an authority, a server and a client."""

import datetime
import ipaddress
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

#: An issuer: a name and a key.
Signer = tuple[x509.Name, ec.EllipticCurvePrivateKey]


def certify(name: str, issuer: Signer | None, *extensions: x509.ExtensionType) -> tuple[x509.Certificate, Signer]:
    """A certificate for a day, self-signed without an issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    by, signing_key = issuer or (subject, key)
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(by, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=1))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(signing_key, hashes.SHA256()), (subject, key)


def write(folder: Path) -> None:
    """Write authority.pem, and server.pem and client.pem with their keys, server.key and client.key."""
    authority, issuer = certify("authority", None, x509.BasicConstraints(ca=True, path_length=None))
    (folder / "authority.pem").write_bytes(authority.public_bytes(Encoding.PEM))
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    usages = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
    for name, usage in usages.items():
        certificate, (_, key) = certify(name, issuer, here, x509.ExtendedKeyUsage([usage]))
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{name}.key").write_bytes(pem)
        (folder / f"{name}.key").chmod(0o600)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
