"""Letters say what they must, and nothing that a stranger wrote."""

import re
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from keyturn.adapters.jinja2.letters import SHIPPED_TEMPLATES, JinjaLetterWriter
from keyturn.domain.errors import LetterUnwritable
from keyturn.domain.events import Origin
from keyturn.domain.mail import Letter, Mail, MailKind
from keyturn.domain.secret import Secret

VERIFY_URL = "https://app.example.com/verify#token={token}"
RESET_URL = "https://app.example.com/reset?a=b&token={token}"
FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
LINKS = {
    MailKind.VERIFY_EMAIL: "https://app.example.com/verify#token=t0ken",
    MailKind.CONFIRM_NEW_EMAIL: "https://app.example.com/verify#token=t0ken",
    MailKind.RESET_PASSWORD: "https://app.example.com/reset?a=b&token=t0ken",
}
TO_STRANGERS = [
    MailKind.VERIFY_EMAIL,
    MailKind.CONFIRM_NEW_EMAIL,
    MailKind.ALREADY_REGISTERED,
]


def writer(folder: Path | None = None, service_name: str = "Tea & Cake") -> JinjaLetterWriter:
    return JinjaLetterWriter(
        service_name=service_name, verify_url=VERIFY_URL, reset_url=RESET_URL, folder=folder
    )


def letter(kind: MailKind = MailKind.RESET_PASSWORD, name: str | None = "Ada") -> Letter:
    return Letter(
        kind,
        "ada@example.com",
        name=name,
        token=Secret("t0ken"),
        token_ttl=timedelta(minutes=30),
        origin=Origin("2001:db8::1", FIREFOX),
        details=(("due", "2030-01-31T12:00:00+00:00"),),
    )


class Page(HTMLParser):
    """What a mail program shows of an HTML page, and where its links lead."""

    def __init__(self, mail: Mail) -> None:
        super().__init__()
        self.text = ""
        self.links: list[str | None] = []
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.feed(mail.html)
        self.close()
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in {"meta", "br"}:
            self.open.append(tag)
        for attribute, value in attrs:
            if attribute in {"href", "src", "background"}:
                self.links.append(value)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("kind", MailKind)
def test_each_kind_is_written_in_text_and_html(kind: MailKind) -> None:
    mail = writer().write(letter(kind))
    page = Page(mail)
    assert mail.to == "ada@example.com"
    assert mail.subject.isprintable()
    assert "Tea & Cake" in mail.subject
    assert mail.text.startswith("Hello")
    assert "\n\n\n" not in mail.text
    assert page.open == []
    assert page.text.startswith(mail.subject)
    for paragraph in mail.text.strip().split("\n\n"):
        if not paragraph.startswith("The link is good for"):
            assert " ".join(paragraph.split()) in page.text
    for shown in (mail.text, page.text):
        assert "The request came from: Firefox on Windows, 2001:db8::1" in shown


@pytest.mark.parametrize("kind", MailKind)
def test_a_link_is_there_where_something_is_asked_for_and_else_none(kind: MailKind) -> None:
    mail = writer().write(letter(kind))
    page = Page(mail)
    if kind not in LINKS:
        assert page.links == []
        assert "http" not in mail.text
        assert "t0ken" not in mail.text + mail.html
        return
    assert page.links == [LINKS[kind]]
    for shown in (mail.text, page.text):
        assert LINKS[kind] in shown
        assert "good for 30 minutes" in shown


def test_nothing_is_loaded_from_elsewhere() -> None:
    for kind in MailKind:
        mail = writer().write(letter(kind))
        assert Page(mail).tags.isdisjoint({"img", "link", "script", "style", "iframe", "form"})
        assert "url(" not in mail.html


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (timedelta(minutes=5), "5 minutes"),
        (timedelta(hours=1), "1 hour"),
        (timedelta(minutes=90), "90 minutes"),
        (timedelta(hours=24), "24 hours"),
        (timedelta(days=7), "7 days"),
        (timedelta(seconds=359), "5 minutes"),
    ],
)
def test_it_says_in_words_how_long_a_link_is_good(span: timedelta, words: str) -> None:
    mail = writer().write(replace(letter(), token_ttl=span))
    assert f"The link is good for {words}, and once." in mail.text


def test_a_time_is_told_as_a_day() -> None:
    mail = writer().write(letter(MailKind.DELETION_SCHEDULED))
    assert "deleted on 31 January 2030, with" in mail.text


def test_an_unknown_origin_is_left_out() -> None:
    mail = writer().write(replace(letter(), origin=Origin()))
    assert "The request came from" not in mail.text + mail.html


@pytest.mark.parametrize(
    "hostile",
    [
        "Click http://evil.example",
        "Firefox/1\nVisit evil.example",
        "<a href='https://evil.example'>Windows</a>",
    ],
)
def test_no_word_of_a_user_agent_or_an_address_that_is_none_gets_into_a_mail(hostile: str) -> None:
    mail = writer().write(replace(letter(), origin=Origin(hostile, hostile)))
    assert "evil" not in mail.text + mail.html


@pytest.mark.parametrize(
    "name", ["Ada", "Ada Lovelace", "Dr. Ada", "O’Neil-Smith", "Zoë", "राम कुमार", "王小明"]
)
def test_a_name_is_greeted(name: str) -> None:
    mail = writer().write(letter(name=name))
    assert mail.text.startswith(f"Hello {name},\n")
    assert f"Hello {name}," in Page(mail).text


@pytest.mark.parametrize(
    "name",
    [
        "Click http://evil.example",
        "evil.example",
        "evil．example",
        "evil。example",
        "www evil/com",
        "Ada\r\nBcc: eve@example.com",
        "Ada\n\nYour account is lost",
        "Ada\u2028now",
        "mail eve@example.com",
        "call 0900 12345",
        "one two three four five",
        "a" * 41,
        "\u202eAda",
        "<b>Ada</b>",
        "Ada{{ link }}",
        "",
        " ",
    ],
)
def test_a_name_that_says_more_than_a_name_is_left_out(name: str) -> None:
    mail = writer().write(letter(name=name))
    assert mail.text.startswith("Hello,\n\n")
    assert "Hello," in Page(mail).text


@pytest.mark.parametrize("kind", TO_STRANGERS)
def test_nobody_chooses_what_a_stranger_is_called(kind: MailKind) -> None:
    mail = writer().write(letter(kind, name="Ada"))
    assert mail.text.startswith("Hello,\n\n")


def test_what_a_template_shows_is_escaped_in_html_alone(tmp_path: Path) -> None:
    (tmp_path / "email_changed.html").write_text("<p>{{ details.word }} {{ service_name }}</p>")
    (tmp_path / "email_changed.txt").write_text("Subject: {{ details.word }}\n\n{{ details.word }}")
    hostile = "<script>alert('1')</script> &"
    mail = writer(tmp_path).write(
        replace(letter(MailKind.EMAIL_CHANGED), details=(("word", hostile),))
    )
    assert mail.html == (
        "<p>&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; Tea &amp; Cake</p>"
    )
    assert (mail.subject, mail.text) == (hostile, f"{hostile}\n")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x85", "\u2028", "\x0b", "\x00"])
def test_a_detail_starts_no_line_and_no_header(end: str, tmp_path: Path) -> None:
    (tmp_path / "email_changed.txt").write_text("Subject: {{ details.word }}\n\n{{ details.word }}")
    injected = f"changed{end}Bcc: eve@example.com{end}{end}Hello"
    mail = writer(tmp_path).write(
        replace(letter(MailKind.EMAIL_CHANGED), details=(("word", injected),))
    )
    assert mail.subject == "changed Bcc: eve@example.com Hello"
    assert mail.text == "changed Bcc: eve@example.com Hello\n"


def test_a_token_is_escaped_in_its_link() -> None:
    mail = writer().write(replace(letter(), token=Secret('a&b="c#d')))
    [link] = Page(mail).links
    assert link == "https://app.example.com/reset?a=b&token=a%26b%3D%22c%23d"


def test_a_mail_does_not_show_its_link_when_printed() -> None:
    assert "t0ken" not in repr(writer().write(letter()))


def test_a_template_of_the_folder_wins_and_the_others_stay(tmp_path: Path) -> None:
    (tmp_path / "reset_password.txt").write_text(
        '{% extends "layout.txt" %}\n'
        "{% block subject %}Neu: {{ service_name }}{% endblock %}\n"
        "{% block greeting %}Hallo,{% endblock %}\n"
        "{% block body %}Hier: {{ link }}{% endblock %}\n"
    )
    own, shipped = writer(tmp_path).write(letter()), writer().write(letter())
    assert own.subject == "Neu: Tea & Cake"
    assert own.text.startswith(f"Hallo,\n\nHier: {LINKS[MailKind.RESET_PASSWORD]}\n\n")
    assert own.html == shipped.html.replace(
        shipped.subject.replace("&", "&amp;"), "Neu: Tea &amp; Cake"
    )


def test_the_template_in_the_documentation_works(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "mail.md").read_text()
    [template] = re.findall(r"```jinja\n(.*?)```", page, re.DOTALL)
    (tmp_path / "reset_password.txt").write_text(template)
    own = writer(tmp_path)
    own.check()
    assert own.write(letter()).subject == "A new password for Tea & Cake"
    for kind in MailKind:
        assert f"`{kind}`" in page


def test_a_layout_of_the_folder_is_used_by_all(tmp_path: Path) -> None:
    (tmp_path / "layout.html").write_text(
        "<b>{% block body required %}{% endblock %}{{ link }}</b>"
    )
    own = writer(tmp_path)
    own.check()
    assert all(own.write(letter(kind)).html.startswith("<b>") for kind in MailKind)


def test_the_shipped_templates_are_good_and_there_is_none_too_many() -> None:
    writer().check()
    names = {f"{stem}.{ending}" for stem in (*MailKind, "layout") for ending in ("txt", "html")}
    assert {path.name for path in SHIPPED_TEMPLATES.iterdir()} == names


@pytest.mark.parametrize(
    ("name", "template", "problem"),
    [
        (
            "reset_password.html",
            "{% if link %}\n{{ link",
            "The template reset_password.html fails: TemplateSyntaxError: reset_password.html, line 2: ",
        ),
        (
            "layout.txt",
            "Subject: {% block subject required %}{% endblock %}\n\n{% endif %}",
            "The template verify_email.txt fails: TemplateSyntaxError: layout.txt, line 3: ",
        ),
        (
            "email_changed.txt",
            "Subject: {{ nam }}\n\n",
            "The template email_changed.txt fails: UndefinedError: 'nam' is undefined",
        ),
        (
            "email_changed.html",
            '{% extends "mine.html" %}',
            "The template email_changed.html fails: TemplateNotFound: 'mine.html' not found",
        ),
        (
            "email_changed.txt",
            "Hello\n\nyou",
            "The template email_changed.txt must give a line `Subject: …`, then an empty line.",
        ),
        (
            "email_changed.txt",
            "Subject: Hello\nBcc: eve@example.com\n\nyou",
            "The template email_changed.txt must give a line `Subject: …`, then an empty line.",
        ),
        (
            "verify_email.txt",
            "Subject: Hello\n\nyou",
            "The template verify_email.txt does not show the link.",
        ),
        (
            "reset_password.html",
            "<p>Hello</p>",
            "The template reset_password.html does not show the link.",
        ),
        (
            "email_changed.html",
            "{{ 1 / 0 }}",
            "The template email_changed.html fails: ZeroDivisionError",
        ),
        (
            "email_changed.html",
            "{{ ''.__class__.__mro__ }}",
            "The template email_changed.html fails: SecurityError",
        ),
    ],
)
def test_a_template_that_is_wrong_is_named(
    name: str, template: str, problem: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(template)
    with pytest.raises(LetterUnwritable) as refused:
        writer(tmp_path).check()
    assert refused.value.detail.startswith(problem)


def test_a_template_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "layout.html").write_bytes(b"\xff")
    with pytest.raises(LetterUnwritable, match=r"The template already_reg.*html fails: Unicode"):
        writer(tmp_path).write(letter(MailKind.ALREADY_REGISTERED))


def test_what_fails_does_not_tell_what_the_letter_says(tmp_path: Path) -> None:
    (tmp_path / "reset_password.txt").write_text("Subject: x\n\n{{ details[link] }}")
    with pytest.raises(LetterUnwritable) as refused:
        writer(tmp_path).write(letter())
    assert refused.value.detail == "The template reset_password.txt fails: UndefinedError"


def test_a_letter_that_lacks_its_token_is_not_written() -> None:
    with pytest.raises(LetterUnwritable, match="needs a token"):
        writer().write(replace(letter(), token=None))


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example.com/verify",
        "https://app.example.com/{token}/{token}",
        "https://app.example.com/{token}?{other}",
        "https://{token}.example.com/",
        "https:///verify#{token}",
        "javascript:alert({token})",
        "app.example.com/{token}",
        "https://app.example.com/ {token}",
        'https://app.example.com/"{token}',
        "https://app.example.com/\n{token}",
    ],
)
def test_a_link_that_can_not_work_is_refused(url: str) -> None:
    for urls in ((url, RESET_URL), (VERIFY_URL, url)):
        with pytest.raises(ValueError, match=r"must be a URL with \{token\} once"):
            JinjaLetterWriter(service_name="Tea", verify_url=urls[0], reset_url=urls[1])


@pytest.mark.parametrize("name", ["", " ", "Tea\nBcc: eve@example.com", "Tea ", "a" * 41])
def test_a_service_has_a_name_of_one_line(name: str) -> None:
    with pytest.raises(ValueError, match="service's name"):
        writer(service_name=name)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        writer(tmp_path / "missing")


def test_only_who_writes_letters_loads_jinja() -> None:
    program = "import sys, keyturn.adapters.jinja2.letters\nprint('jinja2' in sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(Path(__file__).parents[3] / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stdout == "False\n"
