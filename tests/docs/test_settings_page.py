"""The page of settings says what the code says."""

from tools import settings_reference


def test_the_page_of_settings_is_up_to_date() -> None:
    """Its rows are made from the fields; `python tools/settings_reference.py` writes them."""
    assert settings_reference.PAGE.read_text(encoding="utf-8") == settings_reference.page()
