"""JSON Web Tokens: each algorithm with its key, tokens that are refused, and a reload with a new set of keys."""

import time

import pytest

from support.client import Client, new_id
from support.jwt import Issuer
from support.process import wait_until


class Tokens:
    def __init__(self, stack):
        self.stack = stack
        self.issuer = Issuer(stack.folder / "issuer")
        self.set = stack.folder / "issuer" / "keys.json"
        self.set.write_text(self.issuer.key_set())
        stack.reload(self.change)

    def change(self, config):
        config["security"] = {"clients": "required"}
        config["auth"] = {"jwt": {"keys": str(self.set), "issuer": Issuer.name, "audience": "plist", "leeway": "1s",
                                  "roles_claim": ["realm_access", "roles"]}}
        for route in config["routes"]:
            if route["method"] != "GET":
                route["allow"] = ["editor"]

    def token(self, algorithm="ES256", header=None, **claims):
        claims = {"aud": "plist", "sub": "anna", "exp": int(time.time()) + 600, "realm_access": {"roles": ["editor"]}} | claims
        return self.issuer.token(algorithm, header, **claims)

    def status(self, token, url=None):
        url = url or self.stack.plistd["us"].url
        return Client(url, "us").get("/us/properties?limit=1", Authorization=f"Bearer {token}").status


@pytest.fixture
def tokens(stack):
    yield Tokens(stack)


def test_each_algorithm_lets_a_client_in_at_the_daemon_and_through_nginx(tokens):
    for algorithm in ("RS256", "ES256", "EdDSA"):
        token = tokens.token(algorithm)
        assert tokens.status(token) == 200, algorithm
        assert tokens.status(token) == 200, "from the cache"
        assert tokens.status(token, tokens.stack.nginx.url) == 200, algorithm


def test_the_roles_of_a_token_count_and_its_subject_is_the_principal(tokens):
    us, request_id = tokens.stack.client("us"), new_id()

    def post(**claims):
        return us.request("POST", "/us/properties", body={"price": 5}, request_id=request_id,
                          headers={"Authorization": f"Bearer {tokens.token(**claims)}"})
    assert post(realm_access={"roles": ["reader"]}).status == 403
    assert post(realm_access={}).status == 403
    assert post().status == 201
    assert post().status == 422, "anna has used this id"
    assert post(sub="ben").status == 201, "ben has not"


def test_a_bad_token_is_refused_and_the_log_says_why_but_not_what(tokens):
    us, good = tokens.stack.plistd["us"], tokens.token()
    head, payload, signature = good.split(".")
    bad = [tokens.token(exp=int(time.time()) - 10), tokens.token(aud="other"), tokens.token(iss="https://other.example"),
           tokens.token(nbf=int(time.time()) + 60), tokens.token(header={"alg": "RS256"}), tokens.token(header={"alg": "none"}),
           tokens.token(header={"kid": "rs256"}), f"{head}.{payload}.", f"{head}.{payload}.{signature[:-8]}AAAAAAAA",
           tokens.token("EdDSA", header={"kid": "es256", "alg": "ES256"})]
    assert [tokens.status(token) for token in bad] == [401] * len(bad)
    assert tokens.status(good) == 200
    mark = us.log_mark()

    def said():  # not each time, if many are refused
        tokens.status(bad[0])
        return "refused the credentials of a client at 127.0.0.1" in us.log_text(mark)
    wait_until("the log says why", said)
    assert not any(token.split(".")[1] in us.log_tail(1000) for token in bad)


def test_a_token_expires_even_if_it_is_remembered(tokens):
    token = tokens.token(exp=int(time.time()) + 4)  # and one second of leeway
    assert tokens.status(token) == 200
    wait_until("the token has expired", lambda: tokens.status(token) == 401)


def test_a_reload_takes_a_new_set_of_keys_and_forgets_the_tokens_of_the_old_one(tokens):
    token = tokens.token()
    assert tokens.status(token) == 200
    other = Issuer(tokens.stack.folder / "issuer-2")
    tokens.set.write_text(other.key_set())
    for daemon in tokens.stack.plistd.values():
        daemon.reload()
    assert tokens.status(token) == 401
    tokens.issuer = other
    assert tokens.status(tokens.token()) == 200


def test_a_set_with_a_private_or_symmetric_key_is_refused(tokens):
    tokens.stack.write_config(tokens.change)
    tokens.set.write_text('{"keys":[{"kty":"oct","k":"AAAA"}]}')
    check = tokens.stack.admin("config", "check", check=False)
    assert check.returncode == 1 and "keys[0]: it is a symmetric key" in check.stderr
