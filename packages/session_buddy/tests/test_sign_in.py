"""Signing in: a link, the cookie, what may be done with it, and out again."""

import os
import re
import stat
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from oneiric.paths import user_paths
from session_buddy.access.callers import Scope
from session_buddy.access.tokens import issue
from session_buddy.server.page.html import HEADERS
from tests import forkserver
from tests.serverprocess import ServerProcess, environ_in

SECRET = "tests-only-" + uuid.uuid4().hex
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0"
HELLO = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    environ = environ_in(tmp_path_factory.mktemp("home"), SESSION_BUDDY_SECRET=SECRET)
    with ServerProcess(environ) as server:
        server.until_up()
        yield server


@pytest.fixture(scope="module")
def own(served: ServerProcess) -> str:
    """The address of the server."""
    (address,) = [line for line in served.lines if line.startswith("Address: ")]
    return address.removeprefix("Address: ").removesuffix("/mcp")


@pytest.fixture(scope="module")
def firefox(own: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=own, timeout=60, headers={"User-Agent": FIREFOX}) as client:
        yield client


@pytest.fixture
def client(firefox: httpx.Client) -> httpx.Client:
    """A browser without a cookie."""
    firefox.cookies.clear()
    return firefox


def link(
    client: httpx.Client, *scopes: Scope, subject: str = "ann", token: str | None = None, **given: str
) -> str:
    token = token or issue(SECRET, subject, scopes or ("track", "read"), 86400)
    answer = client.post("/api/v1/links", headers={"Authorization": f"Bearer {token}"}, json=given)
    assert answer.status_code == 201, answer.text
    assert set(answer.json()) == {"url", "expires_at"}
    url: str = answer.json()["url"]
    return url


def signed_in(client: httpx.Client, *scopes: Scope, subject: str = "ann") -> httpx.Client:
    assert client.get(link(client, *scopes, subject=subject)).status_code == 200
    return client


def test_a_link_signs_one_browser_in_and_leads_on_without_a_redirect(client: httpx.Client, own: str) -> None:
    url = link(client)
    assert url.startswith(f"{own}/sign-in/")
    assert client.head(url).status_code == 405
    answer = client.get(url)
    assert (answer.status_code, answer.headers["refresh"], "You are signed in" in answer.text) == (
        200,
        "0; url=/",
        True,
    )
    name, _, attributes = answer.headers["set-cookie"].partition("=")
    assert re.fullmatch(r"session_buddy_[0-9a-f]{8}", name)
    assert set(attributes.split("; ")[1:]) == {"HttpOnly", "Max-Age=43200", "Path=/", "SameSite=strict"}
    assert client.get("/browsers").status_code == client.get("/api/v1/changes").status_code == 200
    with httpx.Client(base_url=own) as other:
        again = other.get(url)
        assert (again.status_code, "set-cookie" in again.headers) == (410, False)
        assert "session-buddy dashboard" in again.text
        assert other.get("/browsers").status_code == 401
        assert other.get("/sign-in/nothing").status_code == 410


def test_behind_tls_the_cookie_is_sent_over_tls_alone(client: httpx.Client, own: str) -> None:
    url = link(client, address="https://buddy.example:444")
    assert url.startswith("https://buddy.example:444/sign-in/")
    answer = client.get(f"{own}/sign-in/{url.rpartition('/')[2]}")
    assert "; Secure" in answer.headers["set-cookie"]
    # Whoever adds a header is not believed.
    plain = client.get(link(client), headers={"X-Forwarded-Proto": "https"})
    assert "Secure" not in plain.headers["set-cookie"]
    token = {"Authorization": f"Bearer {issue(SECRET, 'ann', ['read'], 600)}"}
    for odd in ("javascript:alert(1)", "https://user@evil.example", "http://x/y", "https://", "http://x\n"):
        refused = client.post("/api/v1/links", headers=token, json={"address": odd})
        assert (refused.status_code, "address: " in refused.json()["detail"]) == (400, True), odd


def test_a_cookie_is_taken_by_routes_alone_and_is_no_token(client: httpx.Client) -> None:
    (cookie,) = signed_in(client).cookies.values()
    headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28"}
    assert client.post("/mcp", json=HELLO, headers=headers).status_code == 401
    bearer = {"Authorization": f"Bearer {cookie}"}
    assert client.post("/mcp", json=HELLO, headers=headers | bearer).status_code == 401
    # Whoever shows a token is judged by that.
    refused = client.get("/api/v1/changes", headers=bearer)
    assert (refused.status_code, "made for one browser" in refused.json()["reason"]) == (401, True)
    assert "status" in client.get("/health").json()
    assert client.get("/browsers", headers={"Authorization": "Basic eDp5"}).status_code == 200
    name = next(iter(client.cookies))
    client.cookies.clear()
    client.cookies.set(name, issue(SECRET, "ann", ["read"], 600))
    assert client.get("/api/v1/changes").status_code == 401


def test_a_browser_gets_no_link(client: httpx.Client, own: str) -> None:
    signed_in(client)
    refused = client.post("/api/v1/links", json={}, headers={"Origin": own})
    assert (refused.status_code, "dashboard` makes one" in refused.json()["detail"]) == (403, True)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "same-origin", "none"])
def test_what_another_page_has_a_browser_send_is_refused(client: httpx.Client, own: str, site: str) -> None:
    signed_in(client)
    sent, origin = {"Sec-Fetch-Site": site}, {"Origin": own}
    good = site in ("same-origin", "none")
    assert client.get("/api/v1/changes", headers=sent).status_code == (200 if good else 403)
    assert client.get("/browsers", headers=sent).status_code == (200 if good else 403)
    # Whoever is anybody is answered as such.
    assert set(client.get("/health", headers=sent).json()) >= ({"version"} if good else {"status"})
    assert client.get("/sign-in/x", headers=sent).status_code == 410
    wanted = {"sessions": ["shop-20260102-030405-1b9d6bcd"]}
    answered = client.post("/api/v1/ends", json=wanted, headers=sent | origin)
    assert answered.status_code == (200 if good else 403)
    for wrong in ({}, {"Origin": "http://127.0.0.1:1"}, {"Origin": "null"}):
        assert client.post("/api/v1/ends", json=wanted, headers=sent | wrong).status_code == 403
        assert client.post("/sign-out", headers=sent | wrong).status_code == 403
    assert client.get("/api/v1/changes").status_code == 200


def test_a_link_of_another_site_leads_to_a_page_all_the_same(client: httpx.Client) -> None:
    navigates = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    for site in ("cross-site", "same-site"):
        # From another site without the cookie; then with it, from another port of this host.
        led = client.get("/browsers", params={"tz": "a b;,x"}, headers=navigates | {"Sec-Fetch-Site": site})
        assert (led.status_code, led.headers["refresh"]) == (401, "0; url=/browsers?tz=a+b%3B%2Cx")
        framed = client.get("/browsers", headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"})
        assert "refresh" not in framed.headers
        signed_in(client)
    assert (
        "refresh" not in client.get("/api/v1/changes", headers=navigates | {"Sec-Fetch-Site": site}).headers
    )
    sent = client.post("/sign-out", headers=navigates | {"Sec-Fetch-Site": site})
    assert (sent.status_code, "refresh" in sent.headers) == (403, False)
    client.cookies.clear()
    # It comes from here, and is not signed in: it ends there.
    here = client.get("/browsers", headers=navigates | {"Sec-Fetch-Site": "same-origin"})
    assert (here.status_code, "refresh" in here.headers) == (401, False)


def test_who_may_only_read_ends_no_session_through_a_browser(client: httpx.Client, own: str) -> None:
    signed_in(client, "read")
    refused = client.post("/api/v1/ends", json={"sessions": ["x"]}, headers={"Origin": own})
    assert (refused.status_code, "needs a token with scope track" in refused.json()["detail"]) == (403, True)


def below_header(page: httpx.Response) -> str:
    return page.text.partition("<main")[2]


def test_browsers_are_listed_and_signed_out(client: httpx.Client, own: str) -> None:
    origin = {"Origin": own}
    subject = f"<b>{uuid.uuid4().hex}"
    signed_in(client, subject=subject)
    with httpx.Client(base_url=own, timeout=60) as other:
        signed_in(other, subject=subject)
        listed = below_header(client.get("/browsers"))
        assert listed.count("<form") == 2
        assert "Firefox on Linux <em>this one</em>" in listed
        assert (subject in listed, f"&lt;b&gt;{subject[3:]}" in listed) == (False, True)
        (browser,) = re.findall(r'name="browser" value="(\w+)"', listed)
        for wrong, status in (
            ({"browser": "nobody"}, 404),
            ({}, 400),
            ({"browser": browser, "x": "y"}, 400),
            ({"browser": [browser, browser]}, 400),
            ({"browser": [browser] * 101}, 400),
        ):
            answer = client.post("/browsers/sign-out", data=wrong, headers=origin)
            assert (answer.status_code, answer.headers["content-type"]) == (
                status,
                "text/html; charset=utf-8",
            )
        assert other.get("/browsers").status_code == 200
        done = client.post("/browsers/sign-out", data={"browser": browser}, headers=origin)
        assert (done.status_code, done.headers["location"]) == (303, "/browsers")
        gone = other.get("/browsers")
        assert (gone.status_code, "session-buddy dashboard" in gone.text) == (401, True)
    assert below_header(client.get("/browsers")).count("<form") == 1
    cookies = dict(client.cookies)
    out = client.post("/sign-out", headers=origin)
    assert (out.status_code, out.headers["clear-site-data"], dict(client.cookies)) == (200, '"cache"', {})
    client.cookies.update(cookies)
    # The back button asks once more, since no page is kept.
    assert client.get("/browsers").status_code == client.get("/api/v1/changes").status_code == 401


def test_no_page_is_kept_or_framed_whatever_it_says(client: httpx.Client, own: str) -> None:
    pages = [client.get(link(client)), client.get("/browsers"), client.get("/sign-in/x")]
    pages.append(client.get("/browsers", headers={"Sec-Fetch-Site": "cross-site"}))
    pages.append(client.post("/sign-out", headers={"Origin": own}))
    pages.append(client.get("/browsers"))
    assert [one.status_code for one in pages] == [200, 200, 410, 403, 200, 401]
    for one in pages:
        assert {name: one.headers.get(name) for name in HEADERS} == HEADERS


def test_token_revoke_signs_a_browser_out_and_voids_its_links(
    client: httpx.Client, served: ServerProcess
) -> None:
    def run(*arguments: str) -> str:
        return forkserver.run([*forkserver.COMMAND, "token", *arguments], env=served.environ).stdout

    token = run("create", "--subject", "web1", "--scope", "read").strip()
    used, waiting = (link(client, token=token) for _ in range(2))
    assert client.get(used).status_code == client.get("/browsers").status_code == 200
    assert "of web1 (browser: Firefox on Linux)\n" in run("revoke", "--subject", "web1", "--yes")
    while client.get("/browsers").status_code != 401:
        pass
    assert client.get(waiting).status_code == 410


# --- the command


@pytest.fixture
def dashboard(served: ServerProcess, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run it as the server's user; a browser keeps all processes' command lines, and what it was given."""
    script = tmp_path / "browser"
    kept = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' > everybody"
    script.write_text(f'#!/bin/sh\ncd "{tmp_path}"\n{kept}\nprintf "%s" "$*" > given\n')
    script.chmod(0o755)

    def run(*arguments: str, browser: str = str(script), **more: str) -> subprocess.CompletedProcess[str]:
        here = {name: value for name, value in served.environ.items() if not name.startswith("SSH_")}
        environ = here | {"BROWSER": browser, "DISPLAY": "", "WAYLAND_DISPLAY": ""} | more
        return forkserver.run([*forkserver.COMMAND, "dashboard", *arguments], env=environ)

    return run


def test_dashboard_leads_the_browser_by_a_file_and_shows_nobody_the_link(
    dashboard: Any, served: ServerProcess, own: str, tmp_path: Path
) -> None:
    done = dashboard()
    assert (done.returncode, done.stdout) == (0, f"Opened {own} in your browser, signed in\n")
    file = Path((tmp_path / "given").read_text().removeprefix("file://"))
    folder = user_paths(served.environ).socket.parent
    assert (file.parent, stat.S_IMODE(file.stat().st_mode)) == (folder, 0o600)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (url,) = set(re.findall(r"http://[^\s\"]+", file.read_text()))
    seen = (tmp_path / "everybody").read_text() + done.stdout + done.stderr
    assert (file.name in seen, url.rpartition("/")[2] in seen) == (True, False)
    answer = httpx.get(url)
    assert (answer.status_code, f"local:{os.geteuid()}@" in answer.text) == (200, True)
    # The next removes it; one of this minute may not have been read yet.
    assert dashboard().returncode == 0
    assert file.exists()
    os.utime(file, (0, 0))
    assert dashboard().returncode == 0
    assert not file.exists()


def test_dashboard_prints_the_address_alone_where_no_browser_is_seen(dashboard: Any, tmp_path: Path) -> None:
    address = r"http://127\.0\.0\.1:\d+/sign-in/[\w-]{43}\n"
    printed = dashboard("--print-url")
    assert re.fullmatch(address, printed.stdout)
    assert (printed.returncode, printed.stderr, (tmp_path / "given").exists()) == (0, "", False)
    for browser in ("", "false"):
        done = dashboard(browser=browser)
        assert re.fullmatch(address, done.stdout)
        assert (done.returncode, "No browser can be opened here" in done.stderr) == (0, True)
    port = printed.stdout.split(":")[2].partition("/")[0]
    over_ssh = dashboard("--print-url", SSH_CONNECTION="192.0.2.1 50000 192.0.2.2 22")
    assert over_ssh.stderr.startswith(f"From another machine, first: ssh -L {port}:127.0.0.1:{port} ")


def test_dashboard_asks_the_server_that_is_named_and_says_where_there_is_none(
    cli: Any, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = cli("dashboard")
    assert (missing.returncode, missing.stdout, missing.stderr) == (
        1,
        "",
        "Error: no server of this history runs, which shows the page: session-buddy mcp start --background\n",
    )
    monkeypatch.setenv("SESSION_BUDDY_MCP_ENDPOINT", f"{own}/mcp")
    refused = cli("dashboard", "--print-url")
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    monkeypatch.setenv("SESSION_BUDDY_TOKEN", issue(SECRET, "ann", ["read"], 600))
    printed = cli("dashboard", "--print-url")
    assert printed.stdout.startswith(f"{own}/sign-in/")
    assert "As ann." in httpx.get(printed.stdout.strip()).text
