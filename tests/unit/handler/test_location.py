"""Locations in S3: what is one, what is not, and the keys under it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import SettingsError
from handler.location import PATTERN, S3Location
from handler.settings import read_settings


@given(st.from_regex(PATTERN, fullmatch=True))
def test_a_location_is_written_as_it_was_read(text: str) -> None:
    """Reading and writing are each other's opposite; one slash at the end changes nothing."""
    location = S3Location.parse(text)
    assert str(location) == text
    assert S3Location.parse(text + "/") == location
    assert f"s3://{location.bucket}/{location.key('bundle.json')}" == f"{text}/bundle.json"


NOT_LOCATIONS = r"""
s3:// s3://ab s3:///prefix s3://Bucket/a s3://b@c/a s3://bucket//a s3://bucket/a// s3://bucket/a?b s3://bucket/睡鼠
"""


@pytest.mark.parametrize("text", [*NOT_LOCATIONS.split(), "s3://bucket/a b", "s3://bucket/a\n"])
def test_what_is_no_location_is_a_wrong_setting(text: str) -> None:
    """It is never taken for a folder's name: the setting is named, and what is allowed is said."""
    with pytest.raises(SettingsError, match=r"DORMOUSE_BUNDLE.*must be s3://bucket/prefix"):
        read_settings({"DORMOUSE_BUNDLE": text})


def test_a_setting_may_be_a_location_or_a_folder() -> None:
    """Only what begins with s3:// is in S3."""
    assert read_settings({"DORMOUSE_BUNDLE": "s3://models/a/b/"}).bundle == S3Location("models", "a/b")
    assert str(read_settings({"DORMOUSE_BUNDLE": "bundle"}).bundle) == "bundle"
