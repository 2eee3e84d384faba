"""What `Tls` says, as Python's own TLS takes it."""

from __future__ import annotations

import os
import ssl
import tempfile

from ringserve.client.tls import Tls, pem


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Trusts the system's root certificates where `tls` names none, and always checks the server's certificate.

    Raises OSError where a file can't be read, ValueError for what is no PEM and a key that isn't its certificate's.
    """
    roots = pem(tls.root_certificates)
    certificate, key = pem(tls.certificate), pem(tls.private_key)
    try:
        context = ssl.create_default_context(cadata=None if roots is None else roots.decode("ascii"))
        if certificate is not None and key is not None:
            _show(context, certificate + b"\n" + key)
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise ValueError(f"The TLS certificates or their key can't be used: {error}") from error
    return context


def _show(context: ssl.SSLContext, chain: bytes) -> None:
    """The client's certificate and its key, in one text."""
    # OpenSSL takes them from files only. Nobody else may read this one, and it is gone again at once.
    file, path = tempfile.mkstemp(prefix="ringserve-", suffix=".pem")
    try:
        with open(file, "wb") as written:
            written.write(chain)
        # Without a password, as over gRPC: one that is asked for would hold up the process at its terminal.
        context.load_cert_chain(path, password=b"")
    finally:
        os.unlink(path)
