import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from oneiric import config
from oneiric.config import InvalidEndpoint, named_endpoint, off_reason
from oneiric.paths import user_paths


@pytest.mark.parametrize("value", ["off", "OFF", "0", "false", "no"])
def test_a_variable_switches_tracking_off(environ: Mapping[str, str], value: str) -> None:
    assert off_reason({"ONEIRIC_TRACKING": value}, user_paths(environ)) == f"ONEIRIC_TRACKING={value}"


def test_a_file_switches_tracking_off(environ: Mapping[str, str]) -> None:
    paths = user_paths(environ)
    assert off_reason({}, paths) is None
    switch = paths.config / "oneiric" / "off"
    switch.parent.mkdir(parents=True)
    switch.touch()
    assert off_reason({}, paths) == f"{switch} exists"


def test_an_endpoint_is_only_ever_named(tmp_path: Path) -> None:
    assert named_endpoint({"SESSION_BUDDY_TOKEN": "t"}) is None
    endpoint = named_endpoint({"SESSION_BUDDY_MCP_ENDPOINT": "http://h:1/mcp", "SESSION_BUDDY_TOKEN": "t\n"})
    assert endpoint is not None
    assert (endpoint.url, endpoint.token) == ("http://h:1/mcp", "t")
    (tmp_path / "token").write_text("from-file\n")
    endpoint = named_endpoint(
        {"SESSION_BUDDY_MCP_ENDPOINT": "https://h/mcp", "SESSION_BUDDY_TOKEN_FILE": str(tmp_path / "token")}
    )
    assert endpoint is not None
    assert endpoint.token == "from-file"


@pytest.mark.parametrize("url", ["localhost:8678", "ftp://h/", "http://", "http:///"])
def test_an_endpoint_that_is_no_address_says_what_is_expected(url: str) -> None:
    with pytest.raises(InvalidEndpoint, match="SESSION_BUDDY_MCP_ENDPOINT"):
        named_endpoint({"SESSION_BUDDY_MCP_ENDPOINT": url})


def test_a_token_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(InvalidEndpoint, match="SESSION_BUDDY_TOKEN_FILE='/nowhere'"):
        named_endpoint({"SESSION_BUDDY_MCP_ENDPOINT": "http://h/", "SESSION_BUDDY_TOKEN_FILE": "/nowhere"})


def test_all_variables_that_are_read_are_known() -> None:
    sources = Path(config.__file__).parent.rglob("*.py")
    read = {name for path in sources for name in re.findall(r"ONEIRIC_[A-Z]+(?:_[A-Z]+)*", path.read_text())}
    assert read == config.VARIABLES
