"""Facts about the adapters."""

import socket

from mahavishnu.adapters import describe, enabled
from mahavishnu.settings import Adapters


def test_the_enabled_ones_are_named_in_order() -> None:
    assert enabled(Adapters()) == ["prefect", "llamaindex", "agno"]
    assert enabled(Adapters(llamaindex=False)) == ["prefect", "agno"]


def test_facts_say_what_is_switched_on_and_what_is_installed() -> None:
    facts = describe(Adapters(agno=False), {})
    assert list(facts) == ["prefect", "llamaindex", "agno"]
    assert facts["agno"].startswith("disabled, agno ")
    assert all(line.endswith("installed") for line in facts.values())


def test_a_server_that_the_environment_names_is_asked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/api"
        assert describe(Adapters(), {"PREFECT_API_URL": url})["prefect"].endswith(f"{url} answers")
    assert describe(Adapters(), {"PREFECT_API_URL": url})["prefect"].endswith(f"{url} does not answer")


def test_a_nonsense_address_does_not_answer() -> None:
    url = "http://[half/api"
    assert describe(Adapters(), {"PREFECT_API_URL": url})["prefect"].endswith("does not answer")
