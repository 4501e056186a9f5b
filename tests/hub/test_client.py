"""Calls that outlast a busy server, and the words for those that fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from surgery.errors import UploadError
from surgery.hub.client import WAITS, api, reason, steady
from surgery.hub.repository import account, find_repository
from tests.hub.hub_http import TOKEN
from tests.hub.hub_server import ACCOUNT, Fault, Hub, Repo, running_hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub(monkeypatch) as running:
        yield running


def _asking() -> Callable[[], object]:
    return lambda: api().whoami()


def test_a_call_that_succeeds_is_made_once(hub: Hub) -> None:
    assert isinstance(api(), HfApi)
    assert account() == ACCOUNT
    assert hub.log == ["whoami"] and hub.waits == []


def test_it_waits_longer_each_time_and_then_gives_up(hub: Hub) -> None:
    hub.faults.append(Fault("whoami", status=502, times=100))
    with pytest.raises(UploadError, match=r"asking: .*502"):
        steady("asking", _asking())
    assert tuple(hub.waits) == WAITS and len(hub.log) == len(WAITS) + 1


@pytest.mark.parametrize(("asked", "waited"), [("30", 30.0), ("100000", 300.0), ("soon", 1.0), ("0", 1.0)])
def test_it_waits_as_long_as_it_is_asked_to(hub: Hub, asked: str, waited: float) -> None:
    hub.faults.append(Fault("whoami", status=429, headers={"Retry-After": asked}))
    steady("asking", _asking())
    assert hub.waits == [waited]


def test_a_cut_connection_is_tried_again(hub: Hub) -> None:
    hub.faults.append(Fault("whoami", cut="before", times=2))
    steady("asking", _asking())
    assert hub.log == ["whoami"] * 3


def test_a_hub_that_does_not_answer_is_named(hub: Hub) -> None:
    hub.faults.append(Fault("whoami", cut="before", times=100))
    with pytest.raises(UploadError, match=f"asking: {hub.endpoint} does not answer .check the network"):
        steady("asking", _asking())


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409])
def test_a_refusal_is_not_tried_again(hub: Hub, status: int) -> None:
    hub.faults.append(Fault("whoami", status=status))
    with pytest.raises(UploadError) as refused:
        steady("asking", _asking())
    assert hub.log == ["whoami"] and hub.waits == []
    assert isinstance(refused.value.__cause__, HfHubHTTPError | OSError)


def test_a_defect_is_no_refusal() -> None:
    def broken() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        steady("asking", broken)


def test_the_innermost_error_is_told_without_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    outer = RuntimeError("while sending")
    outer.__cause__ = OSError(f"the disk\n  said no to {TOKEN}")
    assert reason(outer) == "the disk said no to …"
    assert reason(ValueError()) == "ValueError"


def test_what_an_account_may_not_see_is_not_there(hub: Hub) -> None:
    hub.repos["org/name"] = Repo(private=True, gated="auto")
    found = find_repository("org/name")
    assert found is not None and (found.private, found.gated) == (True, "auto")
    assert find_repository("org/other") is None
