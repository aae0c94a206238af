"""Enrolment: from a code that a person reads out to an agent that is known."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtflow.access.certificates import (
    REQUEST_KEY,
    authority_pem,
    client_context,
    fingerprint,
    make_authority,
    make_request,
)
from rtflow.access.codes import Code, new_code, parse_code
from rtflow.access.enrolment import (
    Credentials,
    Enrolling,
    Enrolment,
    credentials_folder,
    load_credentials,
    require_authority,
    save_credentials,
)
from rtflow.access.store import Access
from rtflow.errors import AccessError, UsageError

SERVER = "https://console.lan:8443"
HERE, ELSEWHERE = "10.0.0.7", "10.0.0.8"
HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)


@pytest.fixture
def enrolling(access: Access, clock) -> Enrolling:
    make_authority(access.folder / "certificates")
    return Enrolling(access, clock=clock)


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    return tmp_path / "agent"


def request_of(agent: Path, server: str = SERVER) -> str:
    return make_request(credentials_folder(agent, server), "agent")


def refusal(call: Callable[[], object]) -> AccessError:
    with pytest.raises(AccessError) as caught:
        call()
    return caught.value


# Codes


@given(HASHES)
def test_a_code_is_read_as_it_was_made(authority: str) -> None:
    code = new_code(authority)
    text = str(code)
    assert [len(group) for group in text.split("-")] == [5] * 8
    typed = text.lower().replace("0", "o").replace("1", "l").replace("-", " ")
    for one in (text, typed, text.replace("-", ""), f"  {text}\n"):
        assert parse_code(one) == code
    assert code.is_of(authority)
    assert code.secret not in repr(code)


@given(HASHES, HASHES)
def test_a_code_is_of_one_authority(one: str, other: str) -> None:
    assert new_code(one).is_of(other) == (one[:25] == other[:25])


@given(HASHES, st.integers(0, 39), st.sampled_from("0123456789ABCDEFGHJKMNPQRSTVWXYZ"))
def test_a_character_that_was_mistyped_is_found(authority: str, at: int, typed: str) -> None:
    text = str(new_code(authority)).replace("-", "")
    wrong = text[:at] + typed + text[at + 1 :]
    if wrong == text:
        assert parse_code(wrong)
    else:
        with pytest.raises(UsageError, match="mistake in the code"):
            parse_code(wrong)


@given(st.text(max_size=300))
def test_any_other_text_is_no_code(text: str) -> None:
    with pytest.raises(UsageError, match="code"):
        parse_code(text)


def test_two_codes_are_never_the_same() -> None:
    assert len({new_code("00" * 32).secret for _ in range(1000)}) == 1000


# The server's side and the agent's


def test_an_agent_comes_to_a_token_a_certificate_and_trust(
    enrolling: Enrolling, access: Access, agent: Path
) -> None:
    code = enrolling.code("scanner-1", "scanner", days=30)
    authority = authority_pem(access.folder / "certificates")
    assert require_authority(authority, code.lower())
    given_ = enrolling.redeem(code.lower(), request_of(agent), HERE)
    saved = save_credentials(agent, SERVER, given_)

    found = load_credentials(agent, "https://Console.lan:8443/")
    assert found == saved
    assert (found.server, found.name, found.role) == (SERVER, "scanner-1", "scanner")
    identity = access.check_token(found.token)
    assert (identity.name, identity.role, identity.kind) == ("scanner-1", "scanner", "token")
    assert found.token not in repr(found)
    client_context(found.authority, found.certificate)
    assert {token.expires - token.added for token in access.tokens()} == {30 * 86_400}
    place = credentials_folder(agent, SERVER)
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()} == {
        "client.pem": 0o600,
        "credentials.json": 0o600,
    }
    with pytest.raises(UsageError, match=r"not enrolled with https://other\.lan:443"):
        load_credentials(agent, "https://other.lan")


def test_the_code_is_not_kept(enrolling: Enrolling, access: Access) -> None:
    code = enrolling.code("scanner-1", "scanner")
    kept = (access.folder / "codes.json").read_text()
    assert parse_code(code).secret not in kept
    assert stat.S_IMODE((access.folder / "codes.json").stat().st_mode) == 0o600


def test_a_code_is_good_once(enrolling: Enrolling, access: Access, agent: Path) -> None:
    code = enrolling.code("scanner-1", "scanner")
    enrolling.redeem(code, request_of(agent), HERE)
    access.remove_token("scanner-1")
    assert refusal(lambda: enrolling.redeem(code, request_of(agent), HERE)).reason == "code"


def test_a_code_is_good_once_also_at_the_same_time(enrolling: Enrolling, access: Access, agent: Path) -> None:
    code, request = enrolling.code("scanner-1", "scanner"), request_of(agent)
    outcomes: list[str] = []

    def redeem(address: str) -> None:
        try:
            outcomes.append(enrolling.redeem(code, request, address).name)
        except AccessError as error:
            outcomes.append(error.reason)

    threads = [threading.Thread(target=redeem, args=(f"10.0.0.{n}",)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("scanner-1") == 1
    assert set(outcomes) <= {"scanner-1", "code", "name"}
    assert len(access.tokens()) == 1


def test_a_code_is_good_for_minutes(enrolling: Enrolling, agent: Path, clock) -> None:
    code = enrolling.code("scanner-1", "scanner")
    clock.pass_(15 * 60)
    assert refusal(lambda: enrolling.redeem(code, request_of(agent), HERE)).reason == "expired"
    other = enrolling.code("scanner-2", "scanner", minutes=60)
    clock.pass_(59 * 60)
    assert enrolling.redeem(other, request_of(agent), HERE).name == "scanner-2"
    for minutes in (0, -1, 1441, float("nan")):
        with pytest.raises(UsageError, match="a code is good for"):
            enrolling.code("scanner-3", "scanner", minutes=minutes)


def test_a_second_code_takes_the_place_of_the_first(enrolling: Enrolling, agent: Path) -> None:
    first, second = (enrolling.code("scanner-1", "scanner") for _ in range(2))
    assert refusal(lambda: enrolling.redeem(first, request_of(agent), HERE)).reason == "code"
    assert enrolling.redeem(second, request_of(agent), HERE).name == "scanner-1"


def test_guessing_codes_is_slowed_where_it_happens(enrolling: Enrolling, access: Access, agent: Path) -> None:
    code, request = enrolling.code("scanner-1", "scanner"), request_of(agent)
    guess = str(Code("0" * 15, parse_code(code).authority))
    reasons = [refusal(lambda: enrolling.redeem(guess, request, HERE)).reason for _ in range(7)]
    assert reasons == ["code"] * 5 + ["throttled"] * 2
    slowed = refusal(lambda: enrolling.redeem(code, request, HERE))
    assert slowed.reason == "throttled"
    assert slowed.retry_after > 0
    assert enrolling.redeem(code, request, ELSEWHERE).name == "scanner-1"


@pytest.mark.parametrize("code", ["", "x" * 10_000, "\ud800", "../../etc/passwd", "7K2QX-40VWB"])
def test_what_is_no_code_is_refused(enrolling: Enrolling, agent: Path, code: str) -> None:
    assert refusal(lambda: enrolling.redeem(code, request_of(agent), HERE)).reason == "code"


def test_a_request_that_is_none_leaves_the_code(enrolling: Enrolling, access: Access, agent: Path) -> None:
    code = enrolling.code("scanner-1", "scanner")
    assert refusal(lambda: enrolling.redeem(code, "x" * 100_000, HERE)).reason == "request"
    assert not access.tokens()
    assert enrolling.redeem(code, request_of(agent), HERE).name == "scanner-1"


def test_a_name_that_is_taken(enrolling: Enrolling, access: Access, agent: Path) -> None:
    code = enrolling.code("scanner-1", "scanner")
    access.add_token("scanner-1", "scanner")
    assert refusal(lambda: enrolling.redeem(code, request_of(agent), HERE)).reason == "name"
    with pytest.raises(UsageError, match="'rtflow token revoke scanner-1'"):
        enrolling.code("scanner-1", "scanner")
    for name, role in (("x" * 10_000, "scanner"), ("../x", "scanner"), ("scanner-2", "root")):
        with pytest.raises(UsageError, match="is no"):
            enrolling.code(name, role)


def test_without_an_authority_there_are_no_codes(access: Access) -> None:
    with pytest.raises(UsageError, match="'rtflow certs make'"):
        Enrolling(access).code("scanner-1", "scanner")


def test_somebody_in_between_is_found_out(enrolling: Enrolling, tmp_path: Path) -> None:
    code = enrolling.code("scanner-1", "scanner")
    make_authority(tmp_path / "between")
    between = authority_pem(tmp_path / "between")
    assert fingerprint(between)
    assert refusal(lambda: require_authority(between, code)).reason == "authority"
    with pytest.raises(UsageError, match="expected a certificate"):
        require_authority("no certificate", code)


def test_an_enrolment_that_fails_leaves_the_earlier_one(
    enrolling: Enrolling, access: Access, agent: Path
) -> None:
    first = save_credentials(
        agent, SERVER, enrolling.redeem(enrolling.code("scanner-1", "scanner"), request_of(agent), HERE)
    )
    answer = enrolling.redeem(enrolling.code("scanner-2", "scanner"), request_of(agent), HERE)
    request_of(agent)  # another key since: what was asked for does not fit it
    assert "does not fit" in str(refusal(lambda: save_credentials(agent, SERVER, answer)))
    damaged = Enrolment("scanner-2", "scanner", "token", "no certificate", answer.authority)
    assert "does not fit" in str(refusal(lambda: save_credentials(agent, SERVER, damaged)))
    assert load_credentials(agent, SERVER) == first
    client_context(first.authority, first.certificate)
    place = credentials_folder(agent, SERVER)
    assert {path.name for path in place.iterdir()} == {"client.pem", "credentials.json", REQUEST_KEY}


def test_credentials_that_are_damaged_or_open_to_others_are_not_used(
    enrolling: Enrolling, agent: Path
) -> None:
    kept: Credentials = save_credentials(
        agent, SERVER, enrolling.redeem(enrolling.code("scanner-1", "scanner"), request_of(agent), HERE)
    )
    file = kept.certificate.with_name("credentials.json")
    file.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        load_credentials(agent, SERVER)
    file.chmod(0o600)
    kept.certificate.unlink()
    with pytest.raises(UsageError, match=r"client\.pem is missing"):
        load_credentials(agent, SERVER)
    file.write_bytes(b"{}")
    with pytest.raises(UsageError, match="is damaged; enrol again"):
        load_credentials(agent, SERVER)


@pytest.mark.parametrize(
    "server",
    [
        *("", "console.lan", "http://console.lan", "https://", "https://..", "https://user@console.lan"),
        *(
            "https://console.lan/path",
            "https://console.lan:99999",
            "https://[::1",
            "file:///etc",
            "x" * 10_000,
        ),
    ],
)
def test_what_is_no_address_of_a_server(agent: Path, server: str) -> None:
    with pytest.raises(UsageError, match="is no address of a server"):
        credentials_folder(agent, server)


@given(st.text(max_size=60))
def test_no_address_leads_out_of_the_folder(text: str) -> None:
    try:
        place = credentials_folder(Path("/agent"), f"https://{text}")
    except UsageError:
        return
    assert place.parent == Path("/agent")
    assert place.name not in (".", "..")
    assert place.name.isprintable()
    assert place.name.isascii()
