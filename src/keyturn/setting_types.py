"""How values of settings are written: durations, lists, the links of mails, rates."""

import re
from datetime import timedelta
from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode


def is_loopback(host: str) -> bool:
    """Whether a host name or an address is reached from this machine alone."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Risk(StrEnum):
    """A choice that is fit for development, by the name under which a deployment accepts it."""

    CONSOLE_MAIL = "console-mail"
    PLAIN_LINKS = "plain-links"
    PLAIN_SMTP = "plain-smtp"
    PLAIN_ISSUER = "plain-issuer"
    INSECURE_COOKIES = "insecure-cookies"
    WIDE_PROXIES = "wide-proxies"
    LONG_ACCESS_TTL = "long-access-ttl"
    LONG_IDLE_TTL = "long-idle-ttl"
    LONG_ABSOLUTE_TTL = "long-absolute-ttl"


_LONGEST = timedelta(days=3650)
_DURATION = re.compile(
    r"(?:(\d{1,6})w)?(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s)?",
    re.ASCII,
)
_ISO_DURATION = re.compile(
    r"P(?:(\d{1,6})W)?(?:(\d{1,6})D)?(?:T(?=\d)(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,9})S)?)?",
    re.ASCII,
)


def _read_duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.strip()
    if re.fullmatch(r"[0-9]{1,12}", text):
        return timedelta(seconds=int(text))
    found = _DURATION.fullmatch(text.lower()) or _ISO_DURATION.fullmatch(text.upper())
    if found is None or not any(found.groups()):
        raise ValueError("must be a duration in seconds (900), or as 15m, 7d, 1h30m or PT15M")
    weeks, days, hours, minutes, seconds = (int(number or 0) for number in found.groups())
    return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)


def _split_list(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


Duration = Annotated[timedelta, BeforeValidator(_read_duration), Field(le=_LONGEST)]
"""Whole seconds, written as `900`, `15m`, `7d`, `1h30m` or `PT15M`."""

CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_list)]
"""Texts between commas; an empty text is an empty list."""


def _is_link(value: str) -> str:
    parts = urlsplit(value)
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or "{" in parts.netloc
        or not value.count("{token}") == value.count("{") == value.count("}") == 1
        or any(not character.isprintable() or character in ' "<>\\' for character in value)
    ):
        raise ValueError(
            "must be a URL with {token} once, such as https://a.example/x#token={token}"
        )
    return value


def _is_encrypted(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "https" and not (
        parts.scheme == "http" and is_loopback(parts.hostname or "")
    ):
        raise ValueError("must be an https URL")
    return value


Link = Annotated[str, AfterValidator(_is_link)]
"""A page that a mail leads to, with `{token}` where the token goes."""

EncryptedUrl = Annotated[str, AfterValidator(_is_encrypted)]
"""The URL of another service, which is asked over TLS, or is on this machine."""
