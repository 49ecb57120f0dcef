"""Who tries too often waits, whatever they claim about where they come from."""

from collections.abc import Callable

import httpx
import pytest

from keyturn.adapters.limits.process_windows import ProcessWindows
from keyturn.adapters.limits.throttle import LimitsThrottle, Rates
from keyturn.delivery.http.services import HttpOptions
from keyturn.ports.throttling import ThrottledAction
from keyturn.testing.in_memory import ADA, PASSWORD, InMemoryKeyturn

LOGIN = {"email": ADA, "password": PASSWORD.reveal()}
NEW_PASSWORD = "seven quiet glaciers"
Connect = Callable[..., httpx.AsyncClient]


@pytest.fixture
def keyturn() -> InMemoryKeyturn:
    """A service where one source may do each thing twice a day."""
    twice = Rates.parse("2/day")
    return InMemoryKeyturn(
        throttle=LimitsThrottle(ProcessWindows(), dict.fromkeys(ThrottledAction, twice))
    )


async def statuses(client: httpx.AsyncClient, path: str, body: object, times: int) -> list[int]:
    return [(await client.post(path, json=body)).status_code for _ in range(times)]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/auth/register", LOGIN),
        ("/v1/auth/login", LOGIN),
        ("/v1/auth/refresh", {"refresh_token": "x"}),
        ("/v1/auth/email-verification", {"email": ADA}),
        ("/v1/auth/email-verification/confirm", {"token": "x"}),
        ("/v1/auth/password-reset", {"email": ADA}),
        ("/v1/auth/password-reset/confirm", {"token": "x", "new_password": NEW_PASSWORD}),
        ("/v1/auth/password-strength", {"password": NEW_PASSWORD}),
    ],
)
async def test_the_third_time_is_told_when_to_come_back(
    client: httpx.AsyncClient, path: str, body: dict[str, str]
) -> None:
    assert 429 not in await statuses(client, path, body, 2)
    answer = await client.post(path, json=body)
    assert answer.status_code == 429
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["code"], answer.json()["title"]) == (
        "too_many_attempts",
        "Too many attempts",
    )
    assert 1 < int(answer.headers["retry-after"]) <= 24 * 60 * 60


@pytest.mark.parametrize(
    "form",
    [
        {"grant_type": "password", "username": ADA, "password": PASSWORD.reveal()},
        {"grant_type": "refresh_token", "refresh_token": "x"},
    ],
)
async def test_an_oauth_client_is_told_in_its_own_words(
    client: httpx.AsyncClient, form: dict[str, str]
) -> None:
    for _ in range(2):
        assert (await client.post("/oauth/token", data=form)).status_code == 400
    answer = await client.post("/oauth/token", data=form)
    assert (answer.status_code, answer.json()["error"]) == (429, "temporarily_unavailable")
    assert set(answer.json()) == {"error", "error_description"}
    assert 1 < int(answer.headers["retry-after"]) <= 24 * 60 * 60
    assert answer.headers["cache-control"] == "no-store"


async def test_the_right_password_is_no_way_around_and_nobody_elsewhere_waits(
    connect: Connect, keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    attacker, owner = connect(address="198.51.100.1"), connect(address="192.0.2.7")
    wrong = {**LOGIN, "password": "not the right one"}
    assert await statuses(attacker, "/v1/auth/login", wrong, 2) == [401, 401]
    assert (await attacker.post("/v1/auth/login", json=LOGIN)).status_code == 429
    assert (await owner.post("/v1/auth/login", json=LOGIN)).status_code == 200


async def test_who_is_trusted_by_nobody_can_not_claim_to_come_from_elsewhere(
    connect: Connect,
) -> None:
    client = connect(options=HttpOptions(trusted_proxies=("10.0.0.1",)))
    answers = [
        await client.post(
            "/v1/auth/login",
            json=LOGIN,
            headers={
                "X-Forwarded-For": f"198.51.100.{number}",
                "X-Real-IP": f"198.51.100.{number}",
                "Forwarded": f"for=198.51.100.{number}",
            },
        )
        for number in range(4)
    ]
    assert [answer.status_code for answer in answers] == [401, 401, 429, 429]


async def test_behind_a_trusted_proxy_its_clients_are_counted_and_not_the_proxy(
    connect: Connect,
) -> None:
    client = connect(options=HttpOptions(trusted_proxies=("192.0.2.7",)))

    async def from_address(claimed: str) -> int:
        headers = {"X-Forwarded-For": claimed}
        return (await client.post("/v1/auth/login", json=LOGIN, headers=headers)).status_code

    for number in range(4):
        assert await from_address(f"198.51.100.{number}") == 401
    # What the client itself put in front is not believed.
    for number in range(2):
        assert await from_address(f"203.0.113.{number}, 198.51.100.9") == 401
    assert await from_address("203.0.113.9, 198.51.100.9") == 429


async def test_the_addresses_of_one_ipv6_network_count_as_one(connect: Connect) -> None:
    answers = [
        (await connect(address=address).post("/v1/auth/login", json=LOGIN)).status_code
        for address in ("2001:db8::1", "2001:db8::2", "2001:db8::ffff:3", "2001:db8:0:1::1")
    ]
    assert answers == [401, 401, 429, 401]


async def test_a_refusal_has_not_used_up_a_refresh_token(
    client: httpx.AsyncClient, connect: Connect, keyturn: InMemoryKeyturn
) -> None:
    await keyturn.register()
    token = {"refresh_token": (await keyturn.login()).refresh_token.reveal()}
    await statuses(client, "/v1/auth/refresh", {"refresh_token": "x"}, 2)
    assert (await client.post("/v1/auth/refresh", json=token)).status_code == 429
    elsewhere = connect(address="192.0.2.8")
    assert (await elsewhere.post("/v1/auth/refresh", json=token)).json()["outcome"] == "rotated"


async def test_asking_for_mails_to_one_address_is_counted_whether_or_not_it_is_known(
    connect: Connect,
) -> None:
    per_account = Rates.parse("100/day", "2/day")
    keyturn = InMemoryKeyturn(
        throttle=LimitsThrottle(ProcessWindows(), dict.fromkeys(ThrottledAction, per_account))
    )
    await keyturn.register()
    for email in (ADA, "unknown@example.com"):
        answers = [
            (
                await connect(keyturn=keyturn, address=f"192.0.2.{number}").post(
                    "/v1/auth/password-reset", json={"email": email}
                )
            ).status_code
            for number in range(3)
        ]
        assert answers == [202, 202, 429]
