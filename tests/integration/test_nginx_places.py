"""The generated file in the usual places: as a site of Debian's nginx.conf, and as the whole nginx.conf of Debian's package.

Both run with the package's prefix (no -p), so relative paths would be below /usr/share/nginx.
"""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

from support.client import Client, new_id
from support.front import Front
from support.plistd import admin
from support.process import free_port, wait_until

STOCK = pathlib.Path("/etc/nginx/nginx.conf")
# A site of another application, which must remain the default server. It sets the same
# directives as ours, which would clash outside of a server block.
OTHERS = """
server_tokens on;
keepalive_requests 7;
client_max_body_size 1;
gzip_types *;
proxy_set_header X-Of-Others yes;
proxy_intercept_errors on;
add_header X-Of-Others yes;
error_page 404 /404.html;
map $request_method $others {{ default 1; }}
server {{ listen 127.0.0.1:{port} default_server; location / {{ return 200 "others"; }} }}
"""


class Package(Front):
    """NGINX run like Debian's service, except that its pid, logs and sites are in folders of the test."""

    def __init__(self, kind):
        self.kind = kind
        self.others = free_port()
        super().__init__()
        self.file = self.folder / "etc" / "nginx.conf"
        self.site = self.folder / "etc" / "conf.d" / "plist.conf"
        self.site.parent.mkdir(parents=True)
        self.install()

    def install(self):
        text = self.mine(admin("nginx", f"--{self.kind}", config=self.folder / "plist.yaml").stdout)
        if self.kind == "system":
            self.file.write_text(text)
            return
        stock = STOCK.read_text()
        assert re.search(r"include /etc/nginx/conf.d/\*.conf;", stock), "the nginx.conf of Debian's package"
        self.file.write_text(self.mine(stock))
        self.site.write_text(text)
        (self.site.parent / "others.conf").write_text(OTHERS.format(port=self.others))

    def mine(self, text):
        for theirs, name in (("/run/nginx.pid", "nginx.pid"), ("/var/log/nginx", ""), ("/etc/nginx/conf.d", "etc/conf.d"),
                             ("/etc/nginx/sites-enabled", "etc/sites-enabled")):
            text = text.replace(theirs, str(self.folder / name).rstrip("/"))
        return text

    def command(self, *more, user=()):
        return [*user, shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(self.file), *more]


@pytest.fixture(scope="module", params=["site", "system"])
def package(request):
    if os.getuid() != 0:
        pytest.skip("the folders of Debian's package belong to root")
    prefix = pathlib.Path("/usr/share/nginx")
    before = sorted(prefix.iterdir())
    package = Package(request.param)
    try:
        yield package.start()
    finally:
        package.stop()
    assert sorted(prefix.iterdir()) == before, "something was written below the prefix"


def test_requests_go_through(package):
    package.behave()
    for region in package.names:
        for method in ("GET", "PUT"):
            assert package.send(method, region=region).region == region
    package.behave(us="refuses")
    assert package.send("GET").region == package.send("PUT").region == "eu"


def test_a_reload_takes_a_new_file_and_loses_no_request(package):
    package.behave()
    package.write_yaml("unsent", False, lambda config: config["regions"].pop("eu"))
    package.install()
    done = subprocess.run(package.command("-t"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    old = package.workers()
    subprocess.run(package.command("-s", "reload"), check=True)
    wait_until("NGINX has new workers", lambda: package.workers() and not old & package.workers())
    assert package.client.get("/eu/properties/7").status == 404
    package.write_yaml("unsent", False, None)
    package.install()
    subprocess.run(package.command("-s", "reload"), check=True)
    wait_until("eu is back", lambda: package.client.get("/eu/properties/7").status == 200)


def test_the_log_is_where_the_package_keeps_its_logs(package):
    package.behave()
    word = new_id()
    package.client.get(f"/us/properties/7?{word}")
    wait_until("the request is logged", lambda: word in (package.folder / "plist.log").read_text())


def test_the_diff_compares_with_the_same_kind_of_file(package):
    text = admin("nginx", f"--{package.kind}", config=package.folder / "plist.yaml").stdout
    path = package.folder / "copy.conf"
    path.write_text(text)
    assert admin("nginx", f"--{package.kind}", "--check", path, config=package.folder / "plist.yaml").returncode == 0
    assert admin("nginx", "--check", path, config=package.folder / "plist.yaml", check=False).returncode == 1


def test_a_site_and_other_sites_do_not_affect_each_other(package):
    if package.kind != "site":
        return
    package.behave()
    others = Client(f"http://127.0.0.1:{package.others}").get("/us/properties/7")
    assert others.text == "others" and others.headers["server"].startswith("nginx/")
    answer = package.client.request("GET", "/us/properties/7", headers={"Accept-Encoding": "gzip"})
    assert answer.json["region"] == "us" and "content-encoding" not in answer.headers
    assert answer.headers["server"] == "nginx"
    received = package.daemons["us"][0].received[-1]["headers"]
    assert "x-of-others" not in received
    package.behave(us="answers_404", eu="answers_404")
    assert package.send("PUT").json == {"error": "of the daemon itself"}, "an error page of another site does not replace our answer"


def test_site_and_system_exclude_each_other():
    done = admin("nginx", "--site", "--system", config=pathlib.Path("conf/plist.yaml").resolve(), check=False)
    assert done.returncode == 2 and "--site and --system" in done.stderr
