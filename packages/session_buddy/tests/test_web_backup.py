"""``POST /api/v1/backups``, through the socket and with tokens."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from oneiric.paths import Paths
from session_buddy.access.secret import own_secret
from session_buddy.access.tokens import issue
from session_buddy.client.api import Away, asked
from session_buddy.errors import ServerFailed
from session_buddy.host.server_file import ServerInfo


def over_tcp(server: ServerInfo, token: str | None) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = server.url.removesuffix("/mcp") + "/api/v1/backups"
    request = urllib.request.Request(url, method="POST", headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_who_may_do_everything_may_ask_for_a_backup(server: ServerInfo, paths: Paths) -> None:
    assert Path(asked(server.endpoint, "/api/v1/backups", {})["path"]).exists()
    secret = own_secret(paths)
    status, answer = over_tcp(server, issue(secret, "boss", ["admin"], 60))
    assert (status, Path(answer["path"]).name) == (201, answer["name"])
    assert over_tcp(server, issue(secret, "ann", ["read"], 60)) == (
        403,
        {
            "type": "about:blank",
            "title": "Forbidden",
            "status": 403,
            "detail": "POST /api/v1/backups needs a token with scope admin; this one (ann) has read",
        },
    )
    for token in (None, "nonsense"):
        assert over_tcp(server, token)[0] == 401


def test_a_server_that_does_not_answer_or_cannot_is_said(server: ServerInfo, tmp_path: Path) -> None:
    with pytest.raises(Away, match="does not answer: "):
        asked(server._replace(socket=tmp_path / "none.sock").endpoint, "/api/v1/backups", {})
    with pytest.raises(ServerFailed, match="is of another version, and has no /api/nothing"):
        asked(server.endpoint, "/api/nothing", {})
