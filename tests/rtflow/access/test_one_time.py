import pytest

from rtflow.access.one_time import OneTimeLogins
from rtflow.access.store import Access
from rtflow.errors import AccessError


@pytest.fixture
def access(tmp_path) -> Access:
    tmp_path.chmod(0o700)
    made = Access(tmp_path)
    made.add_user("anna", "a-password-of-tests", "operator")
    return made


def test_a_code_is_good_once_also_for_another_process(access, tmp_path):
    code = OneTimeLogins(access).make(access.identity("anna"))
    assert code not in (tmp_path / "logins.json").read_text()
    identity = OneTimeLogins(Access(tmp_path)).take(code)
    assert (identity.name, identity.role) == ("anna", "operator")
    assert access.still_valid(identity)
    with pytest.raises(AccessError, match="used already"):
        OneTimeLogins(access).take(code)


@pytest.mark.parametrize("code", ["", "x", "x" * 10_000, "\ud800"])
def test_what_is_no_code_is_refused(access, code):
    OneTimeLogins(access).make(access.identity("anna"))
    with pytest.raises(AccessError):
        OneTimeLogins(access).take(code)


def test_a_code_ends_with_its_time_and_with_its_account(access):
    time = [1000.0]
    logins = OneTimeLogins(access, clock=lambda: time[0])
    old, other = (logins.make(access.identity("anna"), seconds=60) for _ in range(2))
    time[0] += 61
    with pytest.raises(AccessError):
        logins.take(old)
    time[0] -= 61
    access.set_password("anna", "another-password-1")
    with pytest.raises(AccessError):
        logins.take(other)


def test_codes_that_nobody_uses_do_not_add_up(access):
    logins = OneTimeLogins(access)
    codes = [logins.make(access.identity("anna")) for _ in range(40)]
    with pytest.raises(AccessError):
        logins.take(codes[0])
    assert logins.take(codes[-1]).name == "anna"
