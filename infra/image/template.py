"""The stack of a container image: template.yaml itself, but for what a zip and an image say differently.

    python -m infra.image.template > build/image-template.yaml

Written line by line, so that a change of template.yaml that would need another one here stops it. Knows
nothing of what the stack is.
"""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
FUNCTION = ("\n  Function:\n", "\n  Role:\n")
"""The part of template.yaml in which lines change."""

PARAMETER = """\
Parameters:
  ImageUri:
    Description: The image in ECR, by its digest (...@sha256:...) or a tag that is never moved.
    Type: String
    AllowedPattern: "[0-9]{12}\\\\.dkr\\\\.ecr\\\\.[a-z0-9-]+\\\\.amazonaws\\\\.com.*/.+[:@][A-Za-z0-9._:-]+"
"""

SNAPSHOT = ("\n  SnapStart:\n", "\n  Rollout:\n")
"""The parameter that an image does not have, and the one after it."""

HEAD_CHANGES = (
    ("Parameters:\n", PARAMETER),
    ('  HasSnapshot: !Equals [!Ref SnapStart, "on"]\n', ""),
)
CHANGES = (
    ("      BuildMethod: makefile  # the target build-Function in infra/build.mk\n", ""),
    ("      ContextPath: .\n", ""),
    ("      WorkingDirectory: .\n", ""),
    ("      CodeUri: handler/\n", "      PackageType: Image\n"),
    ("      Handler: handler.function.lambda_handler\n", "      ImageUri: !Ref ImageUri\n"),
    ("      Runtime: python3.13\n", ""),
    # Lambda manages none of an image's.
    (
        "      RuntimeManagementConfig: {UpdateRuntimeOn: FunctionUpdate}  # it is extended: "
        "a new one comes with a rollout only\n",
        "",
    ),
    # There is none for images.
    ('      SnapStart: {ApplyOn: !If [HasSnapshot, PublishedVersions, "None"]}\n', ""),
    (
        '      VersionDescription: !Sub "${Architecture} ${MemoryMib} ${SnapStart} ${Exact} ${Tracing} '
        '${DailyTokens} ${SessionTtlDays} ${BundleLocation}"\n',
        '      VersionDescription: !Sub "${Architecture} ${MemoryMib} ${Exact} ${Tracing} '
        '${DailyTokens} ${SessionTtlDays} ${BundleLocation}"\n',
    ),
    # The image's entry point does it.
    ("          AWS_LAMBDA_EXEC_WRAPPER: /var/task/handler/runtime.sh\n", ""),
)


def image_template(template: str) -> str:
    """Write the image's template. Raises: ValueError where a line is not there once."""
    head, begin, rest = template.partition(FUNCTION[0])
    function, end, tail = rest.partition(FUNCTION[1])
    before, _, after = head.replace(", SnapStart]", "]").partition(SNAPSHOT[0])
    head = before + SNAPSHOT[1] + after.partition(SNAPSHOT[1])[2]
    for line, instead in HEAD_CHANGES:
        head = replaced(head, line, instead)
    for line, instead in CHANGES:
        function = replaced(function, line, instead)
    return head + begin + function + end + tail


def replaced(text: str, line: str, instead: str) -> str:
    """Replace a whole line. Raises: ValueError where it is not there once."""
    if (found := f"\n{text}".count(f"\n{line}")) != 1:
        raise ValueError(f"template.yaml has {found} lines {line.strip()!r} where an image needs one")
    return f"\n{text}".replace(f"\n{line}", f"\n{instead}")[1:]


def main() -> None:
    """The command line."""
    print(image_template((PROJECT / "template.yaml").read_text(encoding="utf-8")), end="")


if __name__ == "__main__":
    main()
