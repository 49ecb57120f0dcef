"""Puts letters into words: templates that ship with keyturn, and an operator's in their place."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from html import escape
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from keyturn.domain.errors import LetterUnwritable
from keyturn.domain.events import Origin
from keyturn.domain.mail import Letter, Mail, MailKind
from keyturn.domain.secret import Secret
from keyturn.ports.mail import LetterWriter

if TYPE_CHECKING:
    from jinja2 import Environment

SHIPPED_TEMPLATES = Path(__file__).with_name("templates")
"""One text and one HTML file for each `MailKind`, and the two layouts that they share."""

_TO_STRANGERS = {MailKind.VERIFY_EMAIL, MailKind.CONFIRM_NEW_EMAIL, MailKind.ALREADY_REGISTERED}
"""Perhaps; whoever asked for the mail must not choose what it calls them."""

_SUBJECT_LINE = re.compile(r"Subject:[ \t]*(\S[^\n]*)")

_MAX_NAME = 40
_MAX_NAME_WORDS = 4
_MAX_DETAIL = 200

# Only these words reach a mail. What a client sends as its user agent may be anything, and the
# mail may go to somebody else.
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("CriOS/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("iPhone", "an iPhone"),
    ("iPad", "an iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "a Mac"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


class JinjaLetterWriter(LetterWriter):
    """Writes letters by Jinja2 templates.

    A text template gives a line `Subject: …`, an empty line and the text; an HTML template gives
    the page. Both are handed `service_name`, `address`, `name`, `link`, `link_lifetime`,
    `origin` and `details`; what is not known is None. The HTML one has `subject` too. The filter
    `day` makes a date for people of a time in `details`.

    What a user chose never starts a line, and a name that could be read as a message or a link is
    left out; in HTML everything is escaped (OWASP ASVS 5.0 V1.2.1, V1.2.2).
    """

    def __init__(
        self,
        *,
        service_name: str,
        verify_url: str,
        reset_url: str,
        folder: Path | None = None,
    ) -> None:
        """Write in the name of a service.

        Args:
            service_name: what people know the service by.
            verify_url: the page that confirms an address, with `{token}` where the token goes:
                `https://app.example.com/verify#token={token}`. Behind a `#` it stays out of the
                logs of servers.
            reset_url: the page where a new password is set, likewise.
            folder: templates that are used instead of those that ship, by their file names.

        Raises:
            ValueError: a URL or the name is not fit for a mail, or there is no such folder.
        """
        if not service_name or service_name != _one_line(service_name, _MAX_NAME):
            raise ValueError(f"the service's name must be a line of 1 to {_MAX_NAME} characters")
        if folder is not None and not folder.is_dir():
            raise ValueError(f"{folder}: there is no such folder")
        _require_link(verify_url)
        _require_link(reset_url)
        self._service_name = service_name
        self._urls = {
            MailKind.VERIFY_EMAIL: verify_url,
            MailKind.CONFIRM_NEW_EMAIL: verify_url,
            MailKind.RESET_PASSWORD: reset_url,
        }
        self._folders = [SHIPPED_TEMPLATES] if folder is None else [folder, SHIPPED_TEMPLATES]

    def write(self, letter: Letter) -> Mail:
        link = self._link(letter)
        values: dict[str, object] = {
            "service_name": self._service_name,
            "address": _one_line(letter.to, _MAX_DETAIL),
            "name": None if letter.kind in _TO_STRANGERS else _harmless_name(letter.name),
            "link": link,
            "link_lifetime": None if letter.token_ttl is None else _in_words(letter.token_ttl),
            "origin": _told(letter.origin),
            "details": {name: _one_line(text, _MAX_DETAIL) for name, text in letter.details},
        }
        text_name, html_name = f"{letter.kind}.txt", f"{letter.kind}.html"
        head, _, body = self._render(text_name, values).lstrip().partition("\n\n")
        found = _SUBJECT_LINE.fullmatch(head)
        if found is None:
            raise LetterUnwritable(
                f"The template {text_name} must give a line `Subject: …`, then an empty line."
            )
        subject = found[1].strip()
        # Where a template leaves something out, its empty lines are left.
        text = re.sub(r"\n\s*\n", "\n\n", body).strip() + "\n"
        html = self._render(html_name, values | {"subject": subject})
        if link is not None and link not in text:
            raise LetterUnwritable(f"The template {text_name} does not show the link.")
        if link is not None and escape(link) not in html:
            raise LetterUnwritable(f"The template {html_name} does not show the link.")
        return Mail(letter.to, subject, text, html)

    def check(self) -> None:
        """Write a letter of each kind, with all that can be known and with the least of it.

        Raises:
            LetterUnwritable: there is no template for one, or it is wrong; the text names it.
        """
        for kind in MailKind:
            for letter in _samples(kind):
                try:
                    self.write(letter)
                except LetterUnwritable as error:
                    if error.__cause__ is None:
                        raise
                    reason = _reason(error.__cause__)
                    raise LetterUnwritable(f"{error.detail}: {reason}") from error

    def _link(self, letter: Letter) -> str | None:
        url = self._urls.get(letter.kind)
        if url is None:
            return None
        if letter.token is None:
            raise LetterUnwritable(f"A letter of the kind {letter.kind} needs a token.")
        return url.replace("{token}", quote(letter.token.reveal(), safe=""))

    def _render(self, name: str, values: dict[str, object]) -> str:
        try:
            return self._environment.get_template(name).render(values)
        except Exception as error:
            # A template can fail in any way, and the error may quote what the letter says.
            raise LetterUnwritable(f"The template {name} fails: {type(error).__name__}") from error

    @cached_property
    def _environment(self) -> "Environment":
        # Loaded by who writes letters; the other commands do without.
        from jinja2 import FileSystemLoader, StrictUndefined  # noqa: PLC0415 - lazily
        from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415 - lazily

        environment = ImmutableSandboxedEnvironment(
            loader=FileSystemLoader(self._folders),
            autoescape=lambda name: name is not None and name.endswith(".html"),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            # A file that is being edited must not go out half written.
            auto_reload=False,
        )
        environment.filters["day"] = _day
        return environment


def _require_link(url: str) -> None:
    parts = urlsplit(url)
    fits = (
        parts.scheme in {"http", "https"}
        and parts.hostname
        and "{" not in parts.netloc
        and url.count("{token}") == url.count("{") == url.count("}") == 1
        and all(character.isprintable() and character not in ' "<>\\' for character in url)
    )
    if not fits:
        raise ValueError(
            f"{url!r} must be a URL with {{token}} once, such as "
            "https://app.example.com/page#token={token}"
        )


def _reason(error: BaseException) -> str:
    from jinja2 import TemplateSyntaxError  # noqa: PLC0415 - lazily

    if isinstance(error, TemplateSyntaxError):
        return f"{error.name}, line {error.lineno}: {error.message}"
    return str(error)


def _in_words(span: timedelta) -> str:
    """Return how long a link is good, never more than it is: "24 hours"."""
    minutes = int(span.total_seconds()) // 60
    if minutes >= 2 * 24 * 60 and minutes % (24 * 60) == 0:
        return f"{minutes // (24 * 60)} days"
    if minutes % 60 == 0 and minutes > 60:
        return f"{minutes // 60} hours"
    return {1: "1 minute", 60: "1 hour"}.get(minutes, f"{minutes} minutes")


def _one_line(text: str, limit: int) -> str:
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())[:limit].rstrip()


def _harmless_name(name: str | None) -> str | None:
    """Return a name by which a mail can greet, None for what says more than a name does.

    Letters of any language, and no full stop that a mail program could take for a link's: a
    stranger could have registered the address, and called themselves "Click evil.example".
    """
    if name is None:
        return None
    name = unicodedata.normalize("NFC", name).strip()
    fits = (
        0 < len(name) <= _MAX_NAME
        and len(name.split(" ")) <= _MAX_NAME_WORDS
        and all(unicodedata.category(c)[0] in "LM" or c in " '’-." for c in name)
        and not re.search(r"\.(?! |$)", name)
    )
    return name if fits else None


def _told(origin: Origin) -> str | None:
    """Return where a request came from, such as "Firefox on Linux, 192.0.2.1"."""
    known = (_device(origin.user_agent), _ip(origin.ip))
    return ", ".join(text for text in known if text is not None) or None


def _ip(text: str | None) -> str | None:
    try:
        return None if text is None else str(ip_address(text))
    except ValueError:
        return None


def _device(user_agent: str | None) -> str | None:
    if user_agent is None:
        return None
    found = [
        next((name for mark, name in names if mark in user_agent), None)
        for names in (_BROWSERS, _SYSTEMS)
    ]
    return " on ".join(name for name in found if name is not None) or None


def _day(moment: str) -> str:
    """Return the day of an ISO 8601 time for people: "31 January 2030"."""
    day = datetime.fromisoformat(moment)
    return f"{day.day} {day:%B %Y}"


def _samples(kind: MailKind) -> Iterator[Letter]:
    least = Letter(kind, "ada@example.com", token=Secret("x"), token_ttl=timedelta(hours=1))
    yield least
    yield replace(
        least,
        name="Ada",
        origin=Origin("192.0.2.1", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0"),
        details=(("due", "2030-01-31T12:00:00+00:00"),),
    )
