"""Access tokens of a Cognito user pool instead of keys: Cognito itself is asked whose a token is.

So no cryptography is needed here, and a user who was signed out is refused at once. Cognito vouches for the
token's signature and age; that it is of our pool and not of another is left to check. The token needs the
scope `aws.cognito.signin.user.admin`.
Source: https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_GetUser.html
"""

from __future__ import annotations

import base64
import json

from handler.keys import Refused
from infra.authorizer.caller import Caller
from infra.authorizer.connection import Connection, Unreachable

HEADERS = {
    "content-type": "application/x-amz-json-1.1",
    "x-amz-target": "AWSCognitoIdentityProviderService.GetUser",
}
NO_GOOD = (
    "NotAuthorizedException",
    "PasswordResetRequiredException",
    "UserNotConfirmedException",
    "UserNotFoundException",
)


class CognitoDoor:
    """Admits the users of one pool; a tenant is a user's `sub`."""

    def __init__(self, pool: str, endpoint: str) -> None:
        self._pool, self._connection = pool, Connection(endpoint)

    def admit(self, authorization: str | None) -> Caller:
        """Find out whose token it is. Raises: Refused, Unreachable."""
        scheme, _, token = (authorization or "").strip().partition(" ")
        if scheme.lower() != "bearer" or token.count(".") != 2:
            raise Refused("malformed")
        status, said = self._connection.post(json.dumps({"AccessToken": token}).encode(), lambda: HEADERS)
        if status != 200:
            if any(name.encode() in said for name in NO_GOOD):
                raise Refused("wrong")
            raise Unreachable(f"Cognito answered {status}")
        claims = _claims(token)
        if not str(claims.get("iss", "")).endswith(f"/{self._pool}") or claims.get("token_use") != "access":
            raise Refused("unknown")
        return Caller(str(claims["sub"]), str(claims.get("client_id", "")), None)


def _claims(token: str) -> dict[str, object]:
    """What a token says; to be believed only after Cognito has accepted it."""
    payload = token.split(".")[1]
    claims: dict[str, object] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims
