"""A door before the AWS server on this machine, which rewrites templates that are to be deployed.

Whoever deploys through it need not know which server it is: a template that is to be deployed is localized on
its way, and a stack is described with the one field that SAM reads and the server leaves out. Every other
request and answer passes untouched.
"""

from __future__ import annotations

import http.client
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import yaml

from tests.loopback import Quiet, serving

Localize = Callable[[Mapping[str, Any]], Mapping[str, Any]]
UNPROTECTED = b"<EnableTerminationProtection>false</EnableTerminationProtection>"
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "server", "date"}


@contextmanager
def aws_door(port: int, server: str, localize: Localize) -> Iterator[None]:
    """Stand before `server`; whatever template makes a function is localized before it gets there."""

    class Door(Quiet):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if b"Action=CreateChangeSet" in body:
                body = _localized(body, localize)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            behind = http.client.HTTPConnection(urllib.parse.urlsplit(server).netloc, timeout=300)
            behind.request(self.command, self.path, body, headers)
            reply = behind.getresponse()
            answer = reply.read()
            if b"Action=DescribeStacks" in body:
                answer = answer.replace(b"<StackStatus>", UNPROTECTED + b"<StackStatus>")
            self.send_response_only(reply.status)
            for name, value in reply.getheaders():
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            length = reply.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(answer))
            self.send_header("Content-Length", length)
            self.end_headers()
            self.wfile.write(answer)
            behind.close()

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = pass_on

    with serving(Door, port):
        yield


def _localized(body: bytes, localize: Localize) -> bytes:
    fields = dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
    if "TemplateURL" in fields:
        with urllib.request.urlopen(fields.pop("TemplateURL"), timeout=60) as stored:
            fields["TemplateBody"] = stored.read().decode()
    template = yaml.safe_load(fields.get("TemplateBody", ""))
    if template and "Function" in template["Resources"]:
        fields["TemplateBody"] = yaml.safe_dump(localize(template))
    return urllib.parse.urlencode(fields).encode()
