"""Where a bundle is that lies in S3: `s3://bucket/prefix`. Knows the form, and nothing of what is there.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SCHEME = "s3://"
# template.yaml's BundleLocation allows the same; a test keeps the two equal.
PATTERN = "s3://[a-z0-9.-]{3,63}(/[A-Za-z0-9._-]+)*"


@dataclass(frozen=True)
class S3Location:
    """A bucket, and what the keys of a bundle's files begin with, without a slash at its end."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, text: str) -> S3Location:
        """Read `s3://bucket/prefix`; one slash at the end is forgiven. Raises: ValueError."""
        whole = text.removesuffix("/")
        if not re.fullmatch(PATTERN, whole):
            raise ValueError(
                "must be s3://bucket/prefix: a bucket of 3 to 63 small letters, digits, `.`, `-`, then names "
                "of letters, digits, `.`, `_`, `-` with one slash between them"
            )
        bucket, _, prefix = whole.removeprefix(SCHEME).partition("/")
        return cls(bucket, prefix)

    def key(self, name: str) -> str:
        """The key of a file that the bundle calls `name`."""
        return f"{self.prefix}/{name}" if self.prefix else name

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}".removesuffix("/")
