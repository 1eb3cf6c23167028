"""Every store of keys keeps the same promises; the authorizer and Cognito are asked on real servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from handler.keys import Key, KeyRecord, Refused, new_key
from infra.authorizer.cognito import CognitoDoor
from infra.authorizer.connection import Unreachable
from infra.authorizer.item import ItemReader
from infra.key_stores import DynamoKeys, FileKeys, KeyStore, KeyStoreError
from infra.usage import usage_key
from tests.dynamodb import CREDENTIALS, ministack, moto
from tests.stack import properties

SERVERS: dict[str, Callable[[Path], Any]] = {
    "ministack": lambda log: ministack(log, "dynamodb,apigateway,cognito-idp"),
    "moto": moto,
}
TABLE = "keys"


def client(url: str, service: str) -> Any:
    """A client as AWS's tools have it."""
    session = botocore.session.get_session()
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    given = {name.lower(): CREDENTIALS[name] for name in names}
    return session.create_client(service, region_name="us-east-1", endpoint_url=url, **given)


@pytest.fixture(scope="module", params=list(SERVERS))
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the table of keys as the template has it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        with SERVERS[request.param](tmp_path_factory.mktemp(request.param) / "log") as url:
            facts = properties("Keys")
            shape = {name: facts[name] for name in ("BillingMode", "AttributeDefinitions", "KeySchema")}
            client(url, "dynamodb").create_table(TableName=TABLE, **shape)
            yield url


@pytest.fixture(params=["file", "table"])
def store(request: pytest.FixtureRequest, server: str, tmp_path: Path) -> KeyStore:
    """Each kind of store."""
    if request.param == "file":
        return FileKeys(tmp_path / "keys.json")
    return DynamoKeys(TABLE, region="us-east-1", endpoint_url=server)


def record_of(key: Key, **facts: Any) -> KeyRecord:
    return KeyRecord(key.id, key.sha256, "alice", 1_800_000_000, **facts)


def test_a_store_keeps_and_replaces(store: KeyStore) -> None:
    """What is added is there; a replacement changes the one and adds the other, both or neither."""
    old, new = record_of(new_key()), record_of(new_key(), usage_key="counter-of-alice-000")
    store.add(old)
    assert old in store.records()
    ended = KeyRecord(**{**vars(old), "expires_s": 1_900_000_000})
    store.replace(ended, new)
    kept = store.records()
    assert ended in kept
    assert new in kept
    assert old not in kept


def test_the_table_keeps_to_one_order_of_things(server: str) -> None:
    """Of two changes that exclude each other the second one fails, and nothing of it is kept."""
    store = DynamoKeys(TABLE, region="us-east-1", endpoint_url=server)
    old, new = record_of(new_key()), record_of(new_key())
    store.add(old)
    with pytest.raises(KeyStoreError, match="there already"):
        store.add(old)
    store.replace(KeyRecord(**{**vars(old), "revoked_s": 1_800_000_001}))
    with pytest.raises(KeyStoreError, match="just changed"):
        store.replace(old, new)
    assert new not in store.records()
    with pytest.raises(KeyStoreError, match="no table nowhere"):
        DynamoKeys("nowhere", region="us-east-1", endpoint_url=server).records()


def test_the_authorizer_reads_what_the_store_wrote(server: str) -> None:
    """By its own signed request: a record as it was written, and none for an id that nobody has."""
    environment = {**CREDENTIALS, "AWS_REGION": "us-east-1"}
    reader = ItemReader(TABLE, server, environment)
    record = record_of(new_key(), expires_s=1_900_000_000, usage_key="counter-of-alice-000")
    DynamoKeys(TABLE, region="us-east-1", endpoint_url=server).add(record)
    row = reader.get(record.id)
    assert row is not None
    assert KeyRecord.from_row(row) == record
    assert reader.get("nobody") is None
    with pytest.raises(Unreachable, match="nowhere cannot be read"):
        ItemReader("nowhere", server, environment).get(record.id)


class ConflictingGateway:
    """A server's API Gateway that refuses, as AWS's does and no server here, to tie a key a second time."""

    def __init__(self, gateway: Any) -> None:
        self._gateway = gateway

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    def create_usage_plan_key(self, **asked: str) -> Any:
        """Tie a key to a plan, once."""
        tied = self._gateway.get_usage_plan_keys(usagePlanId=asked["usagePlanId"])["items"]
        if asked["keyId"] in {each["id"] for each in tied}:
            error = {"Error": {"Code": "ConflictException", "Message": "The key is in the plan."}}
            raise self._gateway.exceptions.ConflictException(error, "CreateUsagePlanKey")
        return self._gateway.create_usage_plan_key(**asked)


def test_a_counter_that_was_left_untied_is_tied(server: str) -> None:
    """A counter whose maker was stopped before it was in the plan is the one that is found, and is in it."""
    gateway = client(server, "apigateway")
    plan = gateway.create_usage_plan(name="plan")["id"]
    left = gateway.create_api_key(name=f"{plan}/alice", enabled=True)
    assert usage_key(gateway, "alice", plan) == left["value"]
    tied = gateway.get_usage_plan_keys(usagePlanId=plan)["items"]
    assert [each["id"] for each in tied] == [left["id"]]


def test_a_tenant_has_one_counter(server: str) -> None:
    """Its counter is made once, tied to the plan, and found again; another tenant's is another."""
    gateway = ConflictingGateway(client(server, "apigateway"))
    plan = gateway.create_usage_plan(name="plan")["id"]
    alice, alice2, again = (usage_key(gateway, name, plan) for name in ("alice", "alice2", "alice"))
    assert alice == again != alice2
    tied = gateway.get_usage_plan_keys(usagePlanId=plan)["items"]
    assert len(tied) == 2
    assert all(len(value) >= 20 for value in (alice, alice2))


def test_cognito_says_whose_a_token_is(server: str) -> None:
    """A user of the pool is admitted as its `sub`; another pool's, a forged token and a key are refused."""
    cognito = client(server, "cognito-idp")
    tokens, subjects, pools = [], [], []
    for name in ("ours", "theirs"):
        pool = cognito.create_user_pool(PoolName=name)["UserPool"]["Id"]
        flows = ["ALLOW_ADMIN_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"]
        app = cognito.create_user_pool_client(UserPoolId=pool, ClientName="app", ExplicitAuthFlows=flows)
        client_id = app["UserPoolClient"]["ClientId"]
        user = cognito.admin_create_user(UserPoolId=pool, Username="alice", TemporaryPassword="Abcdef1!")
        cognito.admin_set_user_password(
            UserPoolId=pool, Username="alice", Password="Abcdef1!x", Permanent=True
        )
        signed_in = cognito.admin_initiate_auth(
            UserPoolId=pool,
            ClientId=client_id,
            AuthFlow="ADMIN_USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": "alice", "PASSWORD": "Abcdef1!x"},
        )
        tokens.append(signed_in["AuthenticationResult"]["AccessToken"])
        facts = {each["Name"]: each["Value"] for each in user["User"]["Attributes"]}
        subjects.append(facts["sub"])
        pools.append(pool)
    door = CognitoDoor(pools[0], server)
    assert door.admit(f"Bearer {tokens[0]}").tenant == subjects[0]
    head, payload, signature = tokens[0].split(".")
    for wrong in (tokens[1], f"{head}.{payload}x.{signature}", "a.b.c", new_key().text):
        with pytest.raises(Refused):
            door.admit(f"Bearer {wrong}")
