"""
A server with TLS in front of one without, and the certificates that it takes.
"""

import select
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

PIECE = 1 << 16  # bytes
HANDSHAKE = 10.0  # seconds


class Authority:
    """
    Signs certificates.

    :ivar path: of its own one.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.path = folder / f"{name}.pem"
        own = self._builder(self._name, self._key).add_extension(x509.BasicConstraints(True, None), critical=True)
        self.path.write_bytes(own.sign(self._key, SHA256()).public_bytes(Encoding.PEM))

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(self._name).public_key(key.public_key())
        return (
            builder.serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )

    def certificate(self, host: str) -> Path:
        """
        A key and a certificate, in one file, for a name or an address.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        try:
            other: x509.GeneralName = x509.IPAddress(ip_address(host))
        except ValueError:
            other = x509.DNSName(host)
        builder = self._builder(name, key).add_extension(x509.SubjectAlternativeName([other]), critical=False)
        path = self._folder / f"{host}.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(private + builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM))
        return path


class TLSFront:
    """
    Listens on a port of this host, and hands on to a unix socket.

    :param clients: the authority of the certificates that clients have to have; none if they need none.
    """

    def __init__(self, certificate: Path, server: str, *, clients: Path | None = None) -> None:
        self._server = server
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        if clients is not None:
            self._context.load_verify_locations(clients)
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """
        Serve nobody any more.
        """
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        plain.settimeout(HANDSHAKE)
        try:
            with self._context.wrap_socket(plain, server_side=True) as client, socket.socket(socket.AF_UNIX) as server:
                server.connect(self._server)
                while _hand_on(client, server):
                    pass
        except OSError:  # those of TLS are
            plain.close()


def _hand_on(client: ssl.SSLSocket, server: socket.socket) -> bool:
    """
    :returns: whether the connection stands.
    """
    ready = [client] if client.pending() else select.select((client, server), (), ())[0]
    for one in ready:
        data = one.recv(PIECE)
        if not data:
            return False
        (server if one is client else client).sendall(data)
    return True
