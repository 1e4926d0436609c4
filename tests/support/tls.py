"""Certificates for the tests and for ./run demo --tls, made with the openssl command."""

import datetime
import pathlib
import ssl
import subprocess

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stderr}")
    return done.stdout


class Pair:
    """A certificate and its key, as two files."""

    def __init__(self, folder, name):
        self.name = name
        self.certificate = pathlib.Path(folder) / f"{name}.crt"
        self.key = pathlib.Path(folder) / f"{name}.key"

    def become(self, other):
        """Takes the contents of another pair, like an operator renewing a certificate."""
        for mine, its in ((self.key, other.key), (self.certificate, other.certificate)):
            mine.write_bytes(its.read_bytes())
        return self

    def good_for(self, seconds):
        """Whether it exists and is valid that long."""
        command = ["openssl", "x509", "-in", self.certificate, "-noout", "-checkend", str(seconds)]
        return self.certificate.exists() and subprocess.run(command, capture_output=True, check=False).returncode == 0

    def signed_by(self, authority):
        done = subprocess.run(["openssl", "verify", "-CAfile", authority.certificate, self.certificate], capture_output=True, check=False)
        return done.returncode == 0

    def serial(self):
        return openssl("x509", "-in", self.certificate, "-noout", "-serial").strip()


class Authority(Pair):
    """A certificate authority that signs others."""

    def __init__(self, folder, name, days=365):
        super().__init__(folder, name)
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        if not self.good_for(7 * 86400):
            openssl("req", "-x509", *KEY, "-days", days, "-subj", f"/O=plist demo/CN={name}", "-keyout", self.key, "-out", self.certificate)
            self.key.chmod(0o600)

    def issue(self, name, names=(), use="serverAuth", days=90):
        """A certificate for host names and addresses (`names`); with days=-1 it has expired."""
        return self._sign(Pair(self.certificate.parent, name), extensions(names, use), "-days", days)

    def issue_later(self, name, use="serverAuth"):
        """A certificate that is not valid before the year 2090."""
        return self._dated(Pair(self.certificate.parent, name), (), use, "20900101000000Z", "20910101000000Z")

    def issue_for(self, seconds, name, names=(), use="clientAuth"):
        """A certificate that is valid for so many seconds. It does not replace one of the same name that is valid for days."""
        folder = self.certificate.parent / "short"
        folder.mkdir(exist_ok=True)
        now = datetime.datetime.now(datetime.timezone.utc)
        first, last = (f"{now + datetime.timedelta(seconds=s):%Y%m%d%H%M%SZ}" for s in (-60, seconds))
        return self._dated(Pair(folder, name), names, use, first, last)

    def _dated(self, pair, names, use, first, last):
        database = self.certificate.with_suffix(".database")
        database.touch()
        settings = self.certificate.with_suffix(".cnf")
        settings.write_text(f"[ca]\ndefault_ca=own\n[own]\ndatabase={database}\nrand_serial=yes\nunique_subject=no\n"
                            f"new_certs_dir={database.parent}\ndefault_md=sha256\npolicy=any\n[any]\norganizationName=optional\ncommonName=supplied\n")
        return self._sign(pair, extensions(names, use), "-startdate", first, "-enddate", last, settings=settings)

    def authority(self, name):
        """An authority whose certificate this one has signed."""
        made = Authority.__new__(Authority)
        Pair.__init__(made, self.certificate.parent, name)
        return self._sign(made, "basicConstraints=critical,CA:TRUE\n", "-days", 90)

    def _sign(self, pair, text, *dates, settings=None):
        request, file = pair.certificate.with_suffix(".csr"), pair.certificate.with_suffix(".ext")
        file.write_text(text)
        openssl("req", *KEY, "-subj", f"/O=plist demo/CN={pair.name}", "-keyout", pair.key, "-out", request)
        if settings:
            openssl("ca", "-batch", "-notext", "-config", settings, "-in", request, "-cert", self.certificate, "-keyfile", self.key, *dates,
                    "-extfile", file, "-out", pair.certificate)
        else:
            openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial", *dates,
                    "-extfile", file, "-out", pair.certificate)
        pair.key.chmod(0o600)
        for each in (request, file):
            each.unlink()
        return pair

    def keep(self, name, names=(), use="serverAuth"):
        """The certificate of that name. A new one is issued unless there is one that we signed and that is valid for a week."""
        pair = Pair(self.certificate.parent, name)
        return pair if pair.good_for(7 * 86400) and pair.signed_by(self) else self.issue(name, names, use)


def extensions(names, use):
    alternative = ",".join(("IP:" if n.replace(".", "").isdigit() else "DNS:") + n for n in names)
    return f"extendedKeyUsage={use}\nbasicConstraints=CA:FALSE\n" + (f"subjectAltName={alternative}\n" if names else "")


class Deployment:
    """The certificates of a deployment: one authority for clients, and one for connections between its parts."""

    def __init__(self, folder, regions):
        self.public = Authority(folder, "public-ca")
        self.internal = Authority(folder, "internal-ca")
        here = ("localhost", "127.0.0.1")
        self.site = self.public.keep("nginx", here)
        self.nginx = self.internal.keep("nginx-upstream", use="clientAuth")
        self.plistd = {r: self.internal.keep(f"plistd-{r}", ("plistd", *here)) for r in regions}
        self.postgres = {r: self.internal.keep(f"postgres-{r}", here) for r in regions}
        self.broker = self.internal.keep("kafka", here, use="serverAuth,clientAuth")
        self.broker_client = self.internal.keep("kafka-client", use="clientAuth")

    def broker_properties(self):
        """The settings of librdkafka for a broker that requires certificates."""
        return {"security.protocol": "ssl", "ssl.ca.location": str(self.internal.certificate),
                "ssl.certificate.location": str(self.broker_client.certificate), "ssl.key.location": str(self.broker_client.key)}

    def trusted(self):
        """A file with the system's authorities and our public one, for programs that accept only one such file."""
        file, system = self.public.certificate.with_name("trusted.crt"), pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
        file.write_bytes((system.read_bytes() if system.exists() else b"") + self.public.certificate.read_bytes())
        return file

    def configure(self, config):
        """Puts TLS into the YAML's dictionary: clients, NGINX, daemons. The addresses of databases have it already."""
        internal = str(self.internal.certificate)
        for region, pair in self.plistd.items():
            config["regions"][region]["tls"] = {"certificate": str(pair.certificate), "key": str(pair.key), "client_ca": internal}
        config["nginx"]["tls"] = {"certificate": str(self.site.certificate), "key": str(self.site.key)}
        config["nginx"]["upstream_tls"] = {"certificate": str(self.nginx.certificate), "key": str(self.nginx.key), "ca": internal}

    def client(self, own=None):
        """The SSL context of a client of NGINX, with or without a client certificate."""
        return context(self.public, own)

    def front(self):
        """The SSL context of NGINX as a client of the daemons."""
        return context(self.internal, self.nginx)


def context(authority, own=None):
    made = ssl.create_default_context(cafile=authority.certificate)
    if own:
        made.load_cert_chain(own.certificate, own.key)
    return made
