"""Prints what a deployed stack has for one of its parameters, or a default where there is no such stack.

    python -m infra.parameters STACK Architecture --default x86_64

Knows the names it is given and no others.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


class NotAsked(Exception):
    """The stack cannot be asked; one line for the operator."""


def read_parameter(stack: str, name: str) -> str | None:
    """The value of a stack's parameter; None where there is no such stack, or it has no such parameter.

    Raises: NotAsked.
    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        (found,) = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    except (BotoCoreError, ClientError, ValueError) as error:
        if isinstance(error, ClientError) and "does not exist" in error.response["Error"]["Message"]:
            return None
        raise NotAsked(f"the stack {stack}: {error}") from error
    values = {each["ParameterKey"]: each["ParameterValue"] for each in found.get("Parameters", [])}
    return values.get(name)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.parameters", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("stack", help="name of the stack")
    parser.add_argument("name", help="name of the parameter")
    parser.add_argument("--default", default="", help="what to print where the stack has none")
    options = parser.parse_args(arguments)
    try:
        print(read_parameter(options.stack, options.name) or options.default)
    except NotAsked as error:
        print(f"parameters: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
