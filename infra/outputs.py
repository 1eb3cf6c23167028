"""Prints what a deployed stack says of itself, as assignments that a shell takes.

    eval "$(python -m infra.outputs STACK)"

Knows the stack's name and none of its outputs.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence


class NoOutputs(Exception):
    """The stack cannot be asked, or has nothing to say; one line for the operator."""


def read_outputs(stack: str) -> dict[str, str]:
    """The outputs of a stack in the account and region that AWS's tools find.

    Raises: NoOutputs.
    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        (found,) = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    except (BotoCoreError, ClientError, ValueError) as error:
        raise NoOutputs(f"the stack {stack}: {error}") from error
    outputs = {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}
    if not outputs:
        raise NoOutputs(f"the stack {stack} has no outputs: it is {found['StackStatus']}")
    return outputs


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.outputs", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("stack", help="name of the deployed stack")
    try:
        outputs = read_outputs(parser.parse_args(arguments).stack)
    except NoOutputs as error:
        print(f"outputs: {error}", file=sys.stderr)
        return 1
    for name, value in outputs.items():
        print(f"{name}={shlex.quote(value)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
