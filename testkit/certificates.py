"""Certificates made for one test session: an authority, a server on the loopback interface, clients."""

from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat


class Certificates:
    """Files of an authority of its own: `ca`, `server` and one a client; PEM, key (PKCS 8, as Java wants it) and chain."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.ca))
        self.server = self._made("server", self._authority.issue_cert("127.0.0.1", "localhost", common_name="server"))

    def client(self, name: str, password: str | None = None) -> Path:
        """Certificate and key of a client in one file, its subject `OU=…,O=…,CN=name`; the key behind a password."""
        leaf = self._authority.issue_cert(f"{name}.test", common_name=name)
        return self._made(name if password is None else f"{name}-locked", leaf, password)

    def _made(self, name: str, leaf: trustme.LeafCert, password: str | None = None) -> Path:
        key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
        hidden: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password is not None:
            hidden = serialization.BestAvailableEncryption(password.encode())
        file = self._folder / f"{name}.pem"
        chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
        file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden) + chain)
        return file
