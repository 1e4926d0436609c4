"""Signed tokens and the set of public keys that verifies them, made with the openssl program."""

import base64
import json
import subprocess


def _openssl(*arguments, data=b""):
    return subprocess.run(["openssl", *map(str, arguments)], input=data, capture_output=True, check=True).stdout


def _encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _plain(der):
    """Concatenates the two numbers of an ECDSA signature in DER."""
    first = 4 + der[3]
    numbers = der[4:first], der[first + 2:first + 2 + der[first + 1]]
    return b"".join(n[-32:].rjust(32, b"\0") for n in numbers)


class Issuer:
    """Has a key for each algorithm; the kid is the algorithm in lower case."""

    name = "https://issuer.example"

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", folder / "RS256.pem")
        _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", folder / "ES256.pem")
        _openssl("genpkey", "-algorithm", "ED25519", "-out", folder / "EdDSA.pem")

    def _public(self, algorithm):
        return _openssl("pkey", "-in", self.folder / f"{algorithm}.pem", "-pubout", "-outform", "DER")

    def key_set(self):
        modulus = _openssl("rsa", "-in", self.folder / "RS256.pem", "-modulus", "-noout").decode().strip().partition("=")[2]
        point, raw = self._public("ES256")[-64:], self._public("EdDSA")[-32:]
        return json.dumps({"keys": [
            {"kty": "RSA", "kid": "rs256", "n": _encode(bytes.fromhex(modulus)), "e": "AQAB", "alg": "RS256", "use": "sig"},
            {"kty": "EC", "crv": "P-256", "kid": "es256", "x": _encode(point[:32]), "y": _encode(point[32:])},
            {"kty": "OKP", "crv": "Ed25519", "kid": "eddsa", "x": _encode(raw)}]})

    def sign(self, algorithm, text):
        key = self.folder / f"{algorithm}.pem"
        if algorithm == "EdDSA":
            file = self.folder / "text"
            file.write_bytes(text)
            return _openssl("pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", file)
        signature = _openssl("dgst", "-sha256", "-sign", key, data=text)
        return _plain(signature) if algorithm == "ES256" else signature

    def token(self, algorithm, header=None, **claims):
        header = {"alg": algorithm, "kid": algorithm.lower(), "typ": "JWT"} | (header or {})
        text = f"{_encode(json.dumps(header).encode())}.{_encode(json.dumps({'iss': self.name} | claims).encode())}"
        return f"{text}.{_encode(self.sign(algorithm, text.encode()))}"
