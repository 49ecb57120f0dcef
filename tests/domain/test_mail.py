"""How long a mail that could not be sent waits."""

from datetime import timedelta

from keyturn.domain.events import Origin
from keyturn.domain.ids import MailId
from keyturn.domain.mail import MAX_ATTEMPTS_TO_SEND, MailKind, QueuedMail
from keyturn.testing.builders import make_user
from keyturn.testing.doubles import START

MAIL = QueuedMail.about(
    MailId(make_user().id), MailKind.PASSWORD_CHANGED, make_user(), START, Origin()
)


def test_each_failed_attempt_waits_twice_as_long_up_to_an_hour_and_the_last_is_the_end() -> None:
    mail, pauses = MAIL, []
    while mail.dead_at is None:
        mail = mail.claimed(START + timedelta(minutes=10)).failed(START, "down", for_good=False)
        pauses.append((mail.next_attempt_at - START).total_seconds())
    assert pauses[:8] == [30, 60, 120, 240, 480, 960, 1920, 3600]
    assert set(pauses[8:-1]) == {3600}
    assert timedelta(seconds=sum(pauses)) > timedelta(hours=20)
    assert len(pauses) == mail.attempts == MAX_ATTEMPTS_TO_SEND


def test_a_mail_that_nobody_will_ever_take_dies_at_once() -> None:
    assert MAIL.claimed(START).failed(START, "refused", for_good=True).dead_at == START
