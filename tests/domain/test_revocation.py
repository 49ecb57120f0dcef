"""Which of two entries of the revocation list for one subject counts."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from keyturn.domain.revocation import Revocation, RevocationSet
from keyturn.testing.builders import make_claims, make_family, make_user
from keyturn.testing.doubles import START

USER = make_user()
CLAIMS = make_claims(USER, make_family(USER))
SOON, LATER = START + timedelta(minutes=1), START + timedelta(hours=1)


@pytest.mark.parametrize("epochs", [(1, 2), (2, 1)])
def test_the_higher_epoch_counts_whichever_is_told_last(epochs: tuple[int, int]) -> None:
    entries = RevocationSet()
    entries.add(Revocation.of_user(USER.id, epoch, LATER) for epoch in epochs)
    assert entries.kills(replace(CLAIMS, epoch=1))
    assert not entries.kills(replace(CLAIMS, epoch=2))


@pytest.mark.parametrize("ends", [(SOON, LATER), (LATER, SOON)])
def test_the_later_end_counts_whichever_is_told_last(ends: tuple[datetime, datetime]) -> None:
    entries = RevocationSet()
    entries.add(Revocation.of_session(CLAIMS.family_id, end) for end in ends)
    entries.forget_expired(SOON)
    assert entries.kills(CLAIMS)
    entries.forget_expired(LATER)
    assert not entries.kills(CLAIMS)
