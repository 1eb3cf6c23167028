"""A bundle in S3: whatever happens on the way, an engine is made of the manifest's very bytes, or of none.

Each test runs against two S3-protocol servers, over a line that it may spoil.
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from urllib3.exceptions import IncompleteRead, ProtocolError, ReadTimeoutError, SSLError

from handler import transfer
from handler.engine import integrity, load, start_loading
from handler.engine.bundle import read_manifest, write_manifest
from handler.errors import BundleError
from handler.location import S3Location
from handler.s3 import BLOCK_BYTES, BROKEN, S3Objects
from infra.bundles import push
from tests.contract.remote.conftest import BUCKET, PART_BYTES, Fetch, client
from tests.contract.remote.faulty_s3 import Answer, Asked, FaultyS3

WEIGHTS = "model.onnx.data"


def arrives_whole(files: transfer.FetchedFiles, folder: Path) -> None:
    """Every file of the manifest is there, byte for byte."""
    for name in files.manifest.files:
        assert files.read(name) == (folder / name).read_bytes()


def test_a_bundle_from_s3_answers_as_one_from_a_folder(fetch: Fetch, parted_bundle: Path) -> None:
    """The same greedy tokens, and a seeded draw gives the same ones too."""
    remote, local = start_loading(fetch(), threads=1).engine(), load(parted_bundle, threads=1)
    assert remote.manifest == local.manifest
    for sampling in ({"temperature": 0}, {"temperature": 1.0, "seed": 7}):
        ids = [
            list(engine.generate([5, 9, 17], engine.params(**sampling), max_tokens=12))
            for engine in (remote, local)
        ]
        assert ids[0] == ids[1]


def test_few_connections_carry_many_parts(line: FaultyS3, fetch: Fetch, parted_bundle: Path) -> None:
    """Each connection is used again, and there are no more than may be under way at once."""
    arrives_whole(fetch(), parted_bundle)
    assert len(line.asked) > 2 * transfer.CONNECTIONS >= 2 * line.connections


def test_the_log_tells_how_far_it_is(fetch: Fetch, parted_bundle: Path, told: list[str]) -> None:
    """The last line has the whole size and the speed, and the place; an undisturbed load has few lines."""
    arrives_whole(fetch(), parted_bundle)
    mib = sum(entry.size_bytes for entry in read_manifest(parted_bundle).files.values()) / (1 << 20)
    assert f"{mib:.1f} of {mib:.1f} MiB" in told[-1]
    assert told[-1].startswith(f"s3://{BUCKET}/bundles/")
    assert "MiB/s" in told[-1]
    assert "repeated" not in told[-1]


def test_parts_may_come_in_any_order(line: FaultyS3, fetch: Fetch, parted_bundle: Path) -> None:
    """The first part of the weights is held back until six later ones are there."""
    later = threading.Semaphore(0)

    def spoil(asked: Asked, answer: Answer) -> None:
        if asked.name == WEIGHTS and asked.start == 0:
            for _ in range(6):
                assert later.acquire(timeout=30)
        elif asked.name == WEIGHTS:
            later.release()

    line.spoil = spoil
    arrives_whole(fetch(), parted_bundle)


def flip(answer: Answer) -> None:
    answer.body = bytes([answer.body[0] ^ 1]) + answer.body[1:]


def end_early(answer: Answer) -> None:
    """A shorter body that says of itself that it is whole."""
    answer.body = answer.body[:-1]
    answer.headers["Content-Length"] = str(len(answer.body))


def break_off(answer: Answer) -> None:
    answer.cut_after = len(answer.body) // 2


def fail(answer: Answer) -> None:
    answer.status, answer.body = (
        500,
        b"<Error><Code>InternalError</Code><Message>We failed.</Message></Error>",
    )
    answer.headers = {"Content-Type": "application/xml", "Content-Length": str(len(answer.body))}


def slow_down(answer: Answer) -> None:
    fail(answer)
    answer.status, answer.body = 503, answer.body.replace(b"InternalError", b"SlowDown")
    answer.headers["Content-Length"] = str(len(answer.body))


def give_other_bytes(answer: Answer) -> None:
    answer.headers["Content-Range"] = f"bytes 1-{len(answer.body)}/999999"


FAULTS = [flip, end_early, break_off, fail, slow_down, give_other_bytes]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_bad_part_is_asked_for_again(
    fault: object, line: FaultyS3, fetch: Fetch, parted_bundle: Path, told: list[str]
) -> None:
    """Two parts of the weights and a small file come spoiled twice: everything is right in the end, no other
    part was asked for twice, and the log says which.
    """
    bad = {(WEIGHTS, PART_BYTES), (WEIGHTS, 4 * PART_BYTES), ("tokenizer.json", 0)}

    def spoil(asked: Asked, answer: Answer) -> None:
        if (asked.name, asked.start) in bad and asked.before < 2:
            fault(answer)  # type: ignore[operator]

    line.spoil = spoil
    arrives_whole(fetch(), parted_bundle)
    repeated = [(asked.name, asked.start) for asked in line.asked if asked.before]
    assert sorted(repeated) == sorted([*bad, *bad])
    assert sum(line.startswith(f"s3://{BUCKET}/") and "asked for again" in line for line in told) == 6


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_part_that_stays_bad_is_refused(fault: object, line: FaultyS3, fetch: Fetch) -> None:
    """After so many attempts, no more: one line that names file, bytes and reason, and no engine."""

    def spoil(asked: Asked, answer: Answer) -> None:
        if asked.name == WEIGHTS and asked.start == 2 * PART_BYTES:
            fault(answer)  # type: ignore[operator]

    line.spoil = spoil
    with pytest.raises(BundleError) as refused:
        start_loading(fetch(), threads=1).engine()
    message = str(refused.value)
    assert f"{WEIGHTS}, bytes {2 * PART_BYTES} to {3 * PART_BYTES - 1}: " in message
    assert message.endswith(f"{transfer.ATTEMPTS} times in a row")
    assert "\n" not in message
    asked = [each for each in line.asked if (each.name, each.start) == (WEIGHTS, 2 * PART_BYTES)]
    assert len(asked) == transfer.ATTEMPTS


@pytest.mark.parametrize("error", [SSLError, ProtocolError, ReadTimeoutError, IncompleteRead])
def test_a_line_that_breaks_is_no_bug(error: type[Exception]) -> None:
    """Also in a way that botocore hands on as it came, such as a damaged TLS record within a part."""
    assert issubclass(error, BROKEN)


def test_a_part_that_trickles_is_given_up(line: FaultyS3, s3_endpoint: str) -> None:
    """A connection that is alive and all but stands still is not waited for: 256 KiB would take 5 s."""
    client(s3_endpoint).put_object(Bucket=BUCKET, Key="slow/file", Body=bytes(256 << 10))
    line.spoil = lambda asked, answer: setattr(answer, "pause_s", 0.02)
    objects, part = S3Objects(S3Location(BUCKET, "slow"), patience_s=0.2), memoryview(bytearray(256 << 10))
    with pytest.raises(transfer.Interrupted, match=f"too slow: {BLOCK_BYTES} of {len(part)} bytes"):
        objects.read_into(part, "file", 0, len(part))


def test_a_file_replaced_in_the_middle_is_refused(
    line: FaultyS3, s3_endpoint: str, parted_bundle: Path, fetch: Fetch
) -> None:
    """Other weights are put in the place of those that are being read: the load ends, mixed with nothing."""
    place = push(client(s3_endpoint), parted_bundle, S3Location(BUCKET, "replaced"))
    other = bytes(len((parted_bundle / WEIGHTS).read_bytes()))

    server, replaced = client(s3_endpoint), threading.Event()

    def spoil(asked: Asked, answer: Answer) -> None:
        if asked.name != WEIGHTS:
            return
        if asked.start == 0:
            server.put_object(Bucket=BUCKET, Key=place.key(WEIGHTS), Body=other)
            replaced.set()
        assert replaced.wait(10)  # the other connections wait too: what they ask next is of the new file

    line.spoil = spoil
    with pytest.raises(BundleError, match=f"{WEIGHTS}: replaced while it was loaded"):
        start_loading(fetch(place), threads=1).engine()
    server.delete_object(Bucket=BUCKET, Key=place.key("bundle.json"))


def test_later_parts_are_asked_for_by_version(line: FaultyS3, fetch: Fetch, parted_bundle: Path) -> None:
    """Once a file's version is known, S3 itself is told to give no other."""
    arrives_whole(fetch(), parted_bundle)
    ranges = [asked for asked in line.asked if asked.name == WEIGHTS]
    assert len({asked.if_match for asked in ranges} - {None}) == 1
    assert sum(asked.if_match is None for asked in ranges) <= transfer.CONNECTIONS


def test_wrong_bytes_that_lie_in_the_bucket_are_refused(
    s3_endpoint: str, parted_bundle: Path, fetch: Fetch
) -> None:
    """A flipped bit, a shorter, a longer and a missing object: the error names the file."""
    server = client(s3_endpoint)
    place = push(server, parted_bundle, S3Location(BUCKET, "spoiled"))
    for name in ("model.onnx", WEIGHTS, "tokenizer.json", "chat_template.jinja"):
        good = (parted_bundle / name).read_bytes()
        for bad in (bytes([good[0] ^ 1]) + good[1:], good[:-1], good + b"\0"):
            server.put_object(Bucket=BUCKET, Key=place.key(name), Body=bad)
            with pytest.raises(BundleError, match=f"{place}.*{name}"):
                start_loading(fetch(place), threads=1).engine()
        server.delete_object(Bucket=BUCKET, Key=place.key(name))
        with pytest.raises(BundleError, match=rf"{name}: not in the bucket {BUCKET}"):
            start_loading(fetch(place), threads=1).engine()
        server.put_object(Bucket=BUCKET, Key=place.key(name), Body=good)
    start_loading(fetch(place), threads=1).engine()


def test_a_bundle_without_parts_is_fetched_in_ranges_all_the_same(
    s3_endpoint: str, parted_bundle: Path, fetch: Fetch, tmp_path: Path, line: FaultyS3
) -> None:
    """Bundles of before have hashes of whole files alone, and these are enough to refuse a wrong byte."""
    folder = Path(shutil.copytree(parted_bundle, tmp_path / "bundle"))
    (folder / "large").write_bytes(bytes(2 * integrity.PART_BYTES + 1))
    write_manifest(folder, read_manifest(folder), part_bytes=1 << 30)
    assert all(entry.parts is None for entry in read_manifest(folder).files.values())
    place = push(client(s3_endpoint), folder, S3Location(BUCKET, "unparted"))
    arrives_whole(fetch(place), folder)
    starts = sorted(asked.start for asked in line.asked if asked.name == "large")
    assert starts == [0, integrity.PART_BYTES, 2 * integrity.PART_BYTES]

    def spoil(asked: Asked, answer: Answer) -> None:
        if asked.name == "large" and asked.start == integrity.PART_BYTES:
            flip(answer)

    line.spoil = spoil
    with pytest.raises(BundleError, match="large: sha256"):
        fetch(place).verify(["large"])
