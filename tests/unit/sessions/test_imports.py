"""What importing the session store costs a cold start."""

from __future__ import annotations

import subprocess
import sys


def test_botocore_is_imported_when_it_is_used() -> None:
    """Neither the package nor DynamoSessions, made but not used, imports botocore; boto3 is never needed."""
    program = (
        "import sys, time\n"
        "from handler.sessions.dynamo import DynamoSessions\n"
        "from handler.sessions.dynamo_table import DynamoTable\n"
        "from handler.sessions.sqlite import SqliteSessions\n"
        "DynamoSessions(DynamoTable('t', region='us-east-1'), clock=time.time)\n"
        "print([name for name in ('boto3', 'botocore', 'urllib3') if name in sys.modules])\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
