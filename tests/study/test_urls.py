"""No password is ever shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.urls import masked

SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8).map(lambda text: f"s3cr€t{text}")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:hush@db.example:5432/studies", "postgresql://ann:***@db.example:5432/studies"),
        ("postgresql+psycopg://ann:hush@db/studies", "postgresql+psycopg://ann:***@db/studies"),
        ("postgresql://ann:hu@s/h@db/studies", "postgresql://ann:***@db/studies"),
        ("postgresql://:hush@db/studies", "postgresql://:***@db/studies"),
        ("postgresql://db/studies?user=ann&password=hush&sslmode=require",
         "postgresql://db/studies?user=ann&password=***&sslmode=require"),
        ("https://mlflow.example?Access_Token=hush", "https://mlflow.example?Access_Token=***"),
    ],
)  # fmt: skip
def test_a_password_is_masked(url: str, shown: str) -> None:
    assert masked(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann@db.example:5432/studies",
        "sqlite:////home/ann/optuna.db",
        "http://127.0.0.1:5000/path",
        "/home/ann/optuna.journal",
    ],
)
def test_a_url_without_a_password_stays(url: str) -> None:
    assert masked(url) == url


@given(secret=SECRETS)
def test_whatever_the_password_it_is_not_in_an_error_that_quotes_the_url(secret: str) -> None:
    text = f"(OperationalError) cannot reach 'postgresql://ann:{secret}@db:5432/studies'; is it up?"
    assert secret not in masked(text)
    assert masked(text).startswith("(OperationalError) cannot reach 'postgresql://ann:***@")
    assert masked(text).endswith("db:5432/studies'; is it up?")
