"""Publishing with the real client over HTTP, against a Hub on this machine that keeps what it gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from surgery.checkpoint.layout import Checkpoint
from surgery.checkpoint.sums import check_sums, write_sums
from surgery.errors import SourceError, UploadError
from surgery.publish import upload
from surgery.publish.metadata import card_fields
from surgery.publish.prospect import Gating, prepare_upload
from surgery.publish.upload import Published, carry_out
from tests.edit.edit_sources import contents
from tests.hub.hub_http import TOKEN
from tests.hub.hub_server import Blob, Fault, Hub, PullRequest, Repo
from tests.publish.results import CARD, make_publishable

NAME = "tester/made"
# The client's own way of sending a large file, which its HTTP library deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def _publish(folder: Path, *, force: bool = False, **options: Any) -> Published:
    return carry_out(prepare_upload(folder, NAME, **options), force=force)


def _main(hub: Hub) -> dict[str, bytes]:
    return {path: blob.data for path, blob in hub.repos[NAME].refs["main"].items()}


def test_everything_arrives_and_the_repository_is_private(result: Path, hub: Hub) -> None:
    done = _publish(result)
    repo = hub.repos[NAME]
    assert repo.private and done.private
    assert _main(hub) == contents(result)
    assert (done.pull_request, done.resumed, done.n_files) == (1, False, len(contents(result)))
    assert done.n_bytes == sum(map(len, contents(result).values()))
    assert repo.pulls[0].status == "merged"
    assert not [line for line in hub.log if line.startswith("UNKNOWN")]


def test_card_and_manifest_come_last_and_main_changes_once(result: Path, hub: Hub) -> None:
    _publish(result)
    *weights, closing, merge = hub.repos[NAME].commits
    assert closing[2] == ["README.md", "SHA256SUMS"]
    assert all(rev == "refs/pr/1" for rev, _, _ in (*weights, closing))
    assert merge[:2] == ("main", "merge")


def test_the_card_that_is_sent_names_its_repository(base: Checkpoint, tmp_path: Path, hub: Hub) -> None:
    use = 'AutoModelForCausalLM.from_pretrained("path/to/this/folder")'
    folder = make_publishable(base, tmp_path / "out", card=f"{CARD}\n```python\n{use}\n```\n")
    _publish(folder)
    there, here = _main(hub), contents(folder)
    assert f'from_pretrained("{NAME}")' in there["README.md"].decode()
    assert use in (folder / "README.md").read_text()
    assert {name for name in here if there[name] != here[name]} == {"README.md", "SHA256SUMS"}
    for name, data in there.items():
        (tmp_path / "fetched" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fetched" / name).write_bytes(data)
    assert not list(check_sums(tmp_path / "fetched", workers=1))
    assert _publish(folder).sent_bytes == 0


@pytest.mark.parametrize("mode", ["auto", "manual"])
def test_it_is_gated_before_anything_is_sent(result: Path, hub: Hub, mode: Gating) -> None:
    done = _publish(result, public=True, gated=mode)
    assert done.gated == hub.repos[NAME].gated == mode
    assert hub.log.index("settings") < hub.log.index("open")


def test_what_stands_there_is_gated_too_and_stays_so(result: Path, hub: Hub) -> None:
    _publish(result)
    done = _publish(result, gated="auto")
    assert hub.repos[NAME].gated == "auto" and done.pull_request is None
    hub.log.clear()
    assert _publish(result).gated == "auto" and "settings" not in hub.log


def test_a_hub_that_does_not_gate_gets_nothing(
    result: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_settings", lambda repo, body: (200, {}))
    with pytest.raises(UploadError, match=r"was to be gated \(auto\).*\nnothing of the result was sent"):
        _publish(result, gated="auto")
    assert not hub.objects and not hub.repos[NAME].pulls


def test_the_word_public_makes_it_public(result: Path, hub: Hub) -> None:
    assert not _publish(result, public=True).private
    assert not hub.repos[NAME].private


def test_an_existing_public_repository_needs_the_word(result: Path, hub: Hub) -> None:
    hub.repos[NAME] = Repo(private=False)
    with pytest.raises(UploadError, match="exists and is public; say --public"):
        prepare_upload(result, NAME)
    assert "open" not in hub.log and "create" not in hub.log
    _publish(result, public=True)
    assert _main(hub) == contents(result)


def test_an_existing_private_repository_stays_private(result: Path, hub: Hub) -> None:
    hub.repos[NAME] = Repo(private=True)
    prospect = prepare_upload(result, NAME, public=True)
    assert prospect.private and any("stays private" in note for note in prospect.notes)


def test_a_failed_gate_stops_it_and_force_says_so_in_the_pull_request(
    base: Checkpoint, tmp_path: Path, hub: Hub
) -> None:
    folder = make_publishable(base, tmp_path / "failed", verdict="fail")
    with pytest.raises(UploadError, match=r"a gate of its recipe failed: refusals \(at most 5 %\)\n"):
        _publish(folder)
    assert NAME not in hub.repos and not hub.cards
    done = _publish(folder, force=True)
    assert hub.cards
    assert done.forced_past == ("a gate of its recipe failed: refusals (at most 5 %)",)
    assert "in spite of:\n- a gate of its recipe failed" in hub.repos[NAME].pulls[0].description


@pytest.mark.parametrize("file", ["model-00001-of-00002.safetensors", "LICENSE", "surgery/plan.json"])
def test_a_changed_file_stops_it(result: Path, hub: Hub, file: str) -> None:
    with (result / file).open("ab") as opened:
        opened.write(b"\n")
    with pytest.raises(UploadError, match=f"{file}: its bytes are not those that SHA256SUMS lists"):
        _publish(result)
    assert not hub.objects and NAME not in hub.repos


def test_what_was_changed_stays_visible_when_it_is_forced(base: Checkpoint, tmp_path: Path, hub: Hub) -> None:
    folder = make_publishable(base, tmp_path / "out", card=f'{CARD}\n"path/to/this/folder"\n')
    (folder / "LICENSE").write_text("another")
    _publish(folder, force=True)
    for name, data in _main(hub).items():
        (tmp_path / "fetched" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fetched" / name).write_bytes(data)
    wrong = list(check_sums(tmp_path / "fetched", workers=1))
    assert wrong[0] == "LICENSE: its bytes are not those that SHA256SUMS lists"


def test_a_file_that_is_not_listed_is_never_sent(result: Path, hub: Hub) -> None:
    (result / "secrets.env").write_text("x")
    with pytest.raises(UploadError, match=r"secrets\.env: is not listed"):
        _publish(result)
    _publish(result, force=True)
    assert _main(hub).keys() == contents(result).keys() - {"secrets.env"}


def test_a_link_that_leads_out_of_the_folder_is_never_sent(result: Path, tmp_path: Path, hub: Hub) -> None:
    (tmp_path / "private.txt").write_text("x")
    (result / "notes.txt").symlink_to(tmp_path / "private.txt")
    write_sums(result)
    with pytest.raises(UploadError, match=r"notes\.txt: leads out of the folder, and is never sent"):
        _publish(result)
    _publish(result, force=True)
    assert "notes.txt" not in _main(hub)


def test_wrong_metadata_stops_it_before_a_byte_is_sent(base: Checkpoint, tmp_path: Path, hub: Hub) -> None:
    card = CARD.replace("base_model_relation: finetune", "base_model_relation: abliterated")
    with pytest.raises(UploadError, match="is none of adapter, finetune"):
        _publish(make_publishable(base, tmp_path / "card", card=card))
    assert NAME not in hub.repos


def test_metadata_that_the_hub_refuses_stops_it_even_by_force(
    base: Checkpoint, tmp_path: Path, hub: Hub
) -> None:
    card = CARD.replace("pipeline_tag: text-generation", "pipeline_tag: nonsense")
    with pytest.raises(UploadError, match=r"the Hub does not take its metadata.*must be a known task"):
        _publish(make_publishable(base, tmp_path / "card", card=card), force=True)
    assert hub.log == ["whoami", "info", "validate"] and hub.cards == [card]


def test_strange_files_are_deleted_only_by_the_word(result: Path, hub: Hub) -> None:
    hub.repos[NAME] = Repo(
        private=True, refs={"main": {"model-00003-of-00003.safetensors": Blob(b"x", True)}}
    )
    with pytest.raises(UploadError, match=r"holds model-00003-of-00003\.safetensors, which .* --replace"):
        prepare_upload(result, NAME)
    _publish(result, replace=True)
    assert _main(hub) == contents(result)


def test_the_same_again_sends_nothing(result: Path, hub: Hub) -> None:
    _publish(result)
    before = list(hub.repos[NAME].commits)
    done = _publish(result)
    assert (done.pull_request, done.sent_bytes) == (None, 0)
    assert hub.repos[NAME].commits == before and len(hub.repos[NAME].pulls) == 1


STEPS = ["create", "open", "preupload", "batch", "put", "commit", "tree", "status", "merge"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_it_goes_on_after_a_cut_at_each_step(
    result: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    monkeypatch.setattr(upload, "COMMIT_BYTES", 1)
    hub.faults.append(Fault(step, cut=when, then_silent=True))
    with pytest.raises(UploadError):
        _publish(result)
    hub.silent = False
    held = dict(hub.objects)
    hub.log.clear()
    done = _publish(result)
    assert _main(hub) == contents(result)
    assert len(hub.repos[NAME].pulls) == 1
    assert hub.log.count("put") == len(hub.objects) - len(held)
    merged_unheard = (step, when) == ("merge", "after")
    assert done.resumed == (step not in ("create", "merge") and (step, when) != ("open", "before")) or (
        step == "merge"
    )
    assert (done.pull_request is None) == merged_unheard


@pytest.mark.parametrize("step", ["whoami", "info", "validate", *STEPS, "pulls", "pull"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_waited_for(result: Path, hub: Hub, step: str, status: int) -> None:
    hub.faults.append(Fault(step, status=status, times=2, headers={"Retry-After": "7"}))
    _publish(result)
    assert _main(hub) == contents(result)
    assert len(hub.repos[NAME].pulls) == 1
    assert len([wait for wait in hub.waits if wait >= 7]) == 2


def test_a_server_that_stays_busy_ends_in_a_message(result: Path, hub: Hub) -> None:
    hub.faults.append(Fault("commit", status=503, times=100))
    with pytest.raises(UploadError, match=r"503 .*\npull request 1 of tester/made keeps what was sent"):
        _publish(result)
    assert len(hub.waits) == 5 and hub.repos[NAME].refs["main"].keys() == {".gitattributes"}


@pytest.mark.parametrize("spoilt", ["SHA256SUMS", "config.json"])
def test_wrong_bytes_on_the_hub_are_never_merged(result: Path, hub: Hub, spoilt: str) -> None:
    hub.spoil = lambda path, data: data[:-1] + b"?" if path == spoilt else data
    with pytest.raises(UploadError, match=f"{spoilt}: stands there with another hash than here"):
        _publish(result)
    assert hub.repos[NAME].pulls[0].status == "draft"
    hub.spoil = lambda _, data: data
    assert _publish(result).resumed
    assert _main(hub) == contents(result)


def test_a_wrong_checksum_of_a_large_file_is_seen(result: Path, hub: Hub) -> None:
    hub.spoil = lambda name, data: b"?" + data[1:] if len(data) > 100_000 else data
    with pytest.raises(UploadError, match=r"big\.dat: stands there with another hash than here"):
        _publish(result)
    assert hub.repos[NAME].refs["main"].keys() == {".gitattributes"}


def test_a_strangers_pull_request_of_that_title_is_left_alone(result: Path, hub: Hub) -> None:
    repo = hub.repos[NAME] = Repo(private=True)
    title = upload._title(prepare_upload(result, NAME).bundle)
    repo.pulls.append(PullRequest(1, title, "", author="somebody", status="open"))
    repo.refs["refs/pr/1"] = {"backdoor.py": Blob(b"x", False)}
    done = _publish(result)
    assert done.pull_request == 2 and not done.resumed
    assert _main(hub) == contents(result)


def test_a_file_that_appears_in_the_pull_request_is_not_merged(result: Path, hub: Hub) -> None:
    hub.faults.append(Fault("merge", cut="before", then_silent=True))
    with pytest.raises(UploadError):
        _publish(result)
    hub.silent = False
    hub.repos[NAME].refs["refs/pr/1"]["backdoor.py"] = Blob(b"x", False)
    with pytest.raises(UploadError, match=r"backdoor\.py: stands there and is no file of the result"):
        _publish(result)


def test_an_interrupt_says_how_to_go_on(result: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    prospect = prepare_upload(result, NAME)
    with monkeypatch.context() as patched:
        patched.setattr(upload, "_send", interrupted)
        with pytest.raises(KeyboardInterrupt) as stopped:
            carry_out(prospect)
    assert "pull request 1 of tester/made keeps what was sent" in stopped.value.__notes__[0]
    assert _publish(result).resumed


def test_an_interrupt_before_anything_is_sent_says_so(
    result: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    prospect = prepare_upload(result, NAME)
    monkeypatch.setattr(upload, "_create", interrupted)
    with pytest.raises(KeyboardInterrupt) as stopped:
        carry_out(prospect)
    assert stopped.value.__notes__ == ["stopped; nothing of the result was sent: run the same command again"]


def test_progress_counts_the_bytes_that_stand_there(
    result: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "COMMIT_BYTES", 1)
    seen: list[tuple[int, int]] = []
    done = carry_out(prepare_upload(result, NAME), progress=lambda now, total: seen.append((now, total)))
    assert seen == sorted(seen) and seen[-1] == (done.n_bytes, done.n_bytes)
    assert len(seen) > 5


def test_no_message_holds_the_token(
    result: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.faults.append(Fault("commit", status=400, headers={"X-Error-Message": f"denied to {TOKEN}"}))
    with pytest.raises(UploadError, match="denied to …") as refused:
        _publish(result)
    said = capfd.readouterr()
    assert TOKEN not in str(refused.value) + said.out + said.err
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UploadError, match="Invalid") as refused:
        _publish(result)
    assert "hf_wrong" not in str(refused.value)


def test_no_token_is_an_error_with_a_cure(result: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(result / "no token"))
    with pytest.raises(
        UploadError, match=r"run `hf auth login`, or set HF_TOKEN\n.*\n  nothing speaks against"
    ):
        _publish(result)
    (result / "config.json").write_text("{}")
    with pytest.raises(UploadError, match=r"HF_TOKEN\n.*looked at:\n  config.json: its bytes are not those"):
        _publish(result)


def test_a_result_of_a_folder_gets_its_base_when_it_is_sent(
    base: Checkpoint, tmp_path: Path, hub: Hub
) -> None:
    named = "base_model: org/base\nbase_model_relation: finetune\nlicense: apache-2.0\n"
    folder = make_publishable(base, tmp_path / "out", card=CARD.replace(named, ""))
    with pytest.raises(SourceError, match="--base /models/x: is no Hub id"):
        prepare_upload(folder, NAME, base="/models/x")
    assert any("names no base: say which model" in note for note in prepare_upload(folder, NAME).notes)
    named_now = prepare_upload(folder, NAME, base="org/base", licence="apache-2.0")
    assert not any("names no base" in note for note in named_now.notes)
    _publish(folder, base="org/base", licence="apache-2.0")
    assert card_fields(_main(hub)["README.md"].decode()) == card_fields(CARD)
    assert named not in (folder / "README.md").read_text()


def test_what_is_no_result_is_refused(tmp_path: Path, result: Path, hub: Hub) -> None:
    with pytest.raises(SourceError, match=r"has no surgery/ record.* no dictionary"):
        prepare_upload(tmp_path, NAME)
    with pytest.raises(SourceError, match="no such file or folder"):
        prepare_upload(tmp_path / "nowhere", NAME)
    for wrong in ("made", "a/b/c", "a /b", "/b", "-a/b"):
        with pytest.raises(SourceError, match="is not a repository's name"):
            prepare_upload(result, wrong)
    with pytest.raises(SourceError, match="names base_model 'org/base'; leave --base out"):
        prepare_upload(result, NAME, base="org/base")
    (result / "SHA256SUMS").unlink()
    with pytest.raises(UploadError, match="without it nobody could check"):
        prepare_upload(result, NAME)
    (result / "README.md").unlink()
    with pytest.raises(UploadError, match="nothing is published without a card"):
        prepare_upload(result, NAME)
    assert not hub.log
