"""Real TLS, passwords and users. Logs and pages of a worker contain no secret and no customer."""

import asyncio
import json
import re
import secrets
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from support import traffic
from support.certificates import Authority
from support.secure_servers import USER, SecureKafka, SecureRedis, token
from support.servers import started
from support.workers import LIMIT, environment, group, read_topic

from stream.core.shard.write_set import ShardId
from stream.embedded.server import ServerUnavailableError
from stream.kafka.security import refusal
from stream.settings import Settings
from stream.tables.interface import TablesRefusedError, TablesUnavailableError
from stream.tables.redis import connect

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    try:
        return Authority(tmp_path_factory.mktemp("authority"))
    except ServerUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory, authority):
    """An authority that is not trusted."""
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture(scope="module")
def secure_kafka(authority):
    with started(SecureKafka(authority)) as server:
        yield server


@pytest.fixture(scope="module")
def secure_redis(authority):
    with started(SecureRedis(authority)) as server:
        yield server


@pytest.fixture(scope="module")
def mutual_redis(authority):
    """It requires a client certificate."""
    with started(SecureRedis(authority, mutual=True)) as server:
        yield server


def rules(prefix):
    """The rules that docs/how-to/security.md tells an operator to grant, with this prefix."""
    [line] = re.findall(r"^ACL SETUSER upsell (.*)$", (DOCS / "how-to" / "security.md").read_text(), re.MULTILINE)
    granted = [rule for rule in line.split() if rule.startswith(("+", "-"))]
    return [f"~{prefix}*", *granted]


def kafka_of(server, authority, **changed):
    return {
        "kafka_bootstrap_servers": server.for_users,
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_username": USER,
        "kafka_sasl_password": server.password,
        "kafka_ssl_ca_file": authority.certificate,
    } | changed


def tokens_of(server, authority, **where):
    return {
        "kafka_bootstrap_servers": server.for_tokens,
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_mechanism": "OAUTHBEARER",
        "kafka_ssl_ca_file": authority.certificate,
    } | where


def redis_of(server, authority, **changed):
    return {
        "redis_url": server.tls_url,
        "redis_password": server.password,
        "redis_ca_file": authority.certificate,
    } | changed


def members(prefix, directory, kafka_bootstrap_servers, redis_url, **given):
    return group(kafka_bootstrap_servers, redis_url, prefix, directory, **given)


async def run(settings, *arguments):
    """Run a command. Returns its exit status and its output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stream", *arguments,
        env=environment(settings), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    return process.returncode, said.decode()


@pytest.mark.kafka
@pytest.mark.redis
async def test_everything_goes_over_tls_as_a_user_with_the_documented_rights(
    secure_kafka, secure_redis, authority, name_prefix, tmp_path
):
    secure_redis.allow(*rules(name_prefix))
    password = tmp_path / "password"
    password.write_text(secure_kafka.password + "\n")
    given = kafka_of(secure_kafka, authority, kafka_sasl_password_file=password)
    del given["kafka_sasl_password"]
    given |= redis_of(secure_redis, authority)
    with members(name_prefix, tmp_path, **given) as workers:
        settings = workers.settings
        assert secure_redis.denied is not None  # reading it clears the refusals of other tests
        worker = workers.start()
        code, said = await run(settings, "simulate", "--rate", "0", "--events", "300")
        assert (code, "events sent" in said) == (0, True), said
        async with asyncio.timeout(LIMIT):
            while True:
                code, said = await run(settings, "rates", "--json")
                assert code == 0, said
                if json.loads(said[said.index("{") :])["windows"]["total"]["checkout"]["transactions"]:
                    break
        code, said = await run(settings, "check")
        assert code == 0, said
        assert "does not say: role, eviction, persistence, memory" in said
        assert secure_redis.denied == ["command info"]
        assert await worker.stop() == 0
        for secret in (secure_kafka.password, secure_redis.password):
            assert secret not in worker.said + said


@pytest.mark.kafka
@pytest.mark.redis
@pytest.mark.parametrize("mechanism", ["certificate", "PLAIN"])
async def test_a_worker_connects_with_plain_or_with_a_certificate(
    secure_kafka, secure_redis, authority, name_prefix, tmp_path, mechanism
):
    secure_redis.allow(*rules(name_prefix))
    if mechanism == "PLAIN":
        given = kafka_of(secure_kafka, authority, kafka_sasl_mechanism="PLAIN")
    else:
        certificate, key = authority.issue("worker")
        given = {
            "kafka_bootstrap_servers": secure_kafka.for_certificates,
            "kafka_security_protocol": "SSL",
            "kafka_ssl_ca_file": authority.certificate,
            "kafka_ssl_cert_file": certificate,
            "kafka_ssl_key_file": key,
        }
    with members(name_prefix, tmp_path, **given, **redis_of(secure_redis, authority)) as workers:
        worker = workers.start()
        await workers.until_shared(lambda shares: shares == [8])
        assert await worker.stop() == 0


async def transactions(settings):
    """Transactions of the checkout journey, as `rates` shows them."""
    code, said = await run(settings, "rates", "--json")
    assert code == 0, said
    return json.loads(said[said.index("{") :])["windows"]["total"]["checkout"]["transactions"]


@pytest.mark.kafka
async def test_a_worker_with_a_token_works_on_after_kafka_has_ended_its_sessions(
    secure_kafka, authority, embedded_valkey, name_prefix, tmp_path
):
    """As clouds have it: a token is valid for minutes, and each connection ends with its token. Here they end after seconds (`SESSION_MS`)."""
    (tmp_path / "token").write_text(token())
    runs = tmp_path / "runs"
    program = f"open({str(runs)!r}, 'a').write('x'); print(open({str(tmp_path / 'token')!r}).read())"
    given = tokens_of(secure_kafka, authority, kafka_oauth_token_command=shlex.join([sys.executable, "-c", program]))
    with members(name_prefix, tmp_path, **given, redis_url=embedded_valkey.url) as workers:
        settings = workers.settings
        worker = workers.start()
        await workers.until_shared(lambda shares: shares == [8])
        counted = 0
        for _ in range(3):
            before = len(runs.read_text())
            await workers.until(lambda limit=before + 4: len(runs.read_text()) >= limit)
            code, said = await run(settings, "simulate", "--rate", "0", "--events", "300", "--seed", str(counted))
            assert (code, "events sent" in said) == (0, True), said
            async with asyncio.timeout(LIMIT):
                while (now := await transactions(settings)) <= counted:  # noqa: ASYNC110 - a command has no event
                    await asyncio.sleep(0.1)
            counted = now
        async with asyncio.timeout(LIMIT):
            while (await worker.readiness())[0] != 200:  # noqa: ASYNC110 - a page has no event
                await asyncio.sleep(0.1)
        code, said = await run(settings, "check")
        assert code == 0, said
        assert await worker.stop() == 0
    assert (tmp_path / "token").read_text() not in worker.said + said
    assert "Traceback" not in worker.said


@pytest.mark.kafka
async def test_a_token_that_kafka_refuses_is_named_and_replaced_without_a_restart(
    secure_kafka, authority, embedded_valkey, name_prefix, tmp_path
):
    file = tmp_path / "token"
    expired = token(-3600)
    file.write_text(expired)
    given = tokens_of(secure_kafka, authority, kafka_oauth_token_file=file)
    says = "it refuses the token; check that UPSELL_KAFKA_OAUTH_TOKEN_FILE gives one that is valid there"
    with members(name_prefix, tmp_path, **given, redis_url=embedded_valkey.url) as workers:
        worker = workers.start()
        await workers.until_said(worker, f"waiting for Kafka: {says}")
        checked, sent = await asyncio.gather(
            run(workers.settings, "check"), run(workers.settings, "simulate", "--events", "1", "--rate", "0")
        )
        for code, said in (checked, sent):
            assert code == 1
            assert says in said
            assert expired not in said
        file.write_text(token())
        await workers.until_shared(lambda shares: shares == [8])
        assert await worker.stop() == 0
    assert expired not in worker.said


@pytest.mark.kafka
async def test_a_worker_that_kafka_refuses_waits_and_says_what_to_do(
    secure_kafka, authority, embedded_valkey, name_prefix, tmp_path
):
    given = kafka_of(secure_kafka, authority, kafka_sasl_password="sentinel-wrong")
    with members(name_prefix, tmp_path, **given, redis_url=embedded_valkey.url) as workers:
        worker = workers.start()
        await workers.until_said(worker, "waiting for Kafka: it refuses the user 'upsell' or the password")
        checked, sent = await asyncio.gather(
            run(workers.settings, "check"), run(workers.settings, "simulate", "--events", "1", "--rate", "0")
        )
        assert await worker.stop() == 0
    for code, said in (checked, sent, (1, worker.said)):
        assert code == 1
        assert "it refuses the user 'upsell' or the password; check UPSELL_KAFKA_SASL_USERNAME" in said
        assert "Traceback" not in said
        assert "sentinel-wrong" not in said


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"kafka_sasl_mechanism": "SCRAM-SHA-256"}, "set UPSELL_KAFKA_SASL_MECHANISM"),
        ({"kafka_ssl_ca_file": "stranger"}, "set UPSELL_KAFKA_SSL_CA_FILE"),
        ({"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_ssl_ca_file": None}, "UPSELL_KAFKA_SECURITY_PROTOCOL is"),
        ({"port": "certificates"}, "does it require a client certificate (UPSELL_KAFKA_SSL_CERT_FILE)"),
        ({"port": "plain"}, "UPSELL_KAFKA_SECURITY_PROTOCOL is SASL_SSL"),
    ],
)
async def test_a_refusal_of_kafka_names_the_setting_to_change(secure_kafka, authority, stranger, wrong, says):
    wrong = dict(wrong)
    port = wrong.pop("port", None)
    given = kafka_of(secure_kafka, authority, **wrong)
    if given["kafka_ssl_ca_file"] == "stranger":
        given["kafka_ssl_ca_file"] = stranger.certificate
    if port == "plain":
        given["kafka_bootstrap_servers"] = secure_kafka.bootstrap_servers
    if port == "certificates":
        given = {
            "kafka_bootstrap_servers": secure_kafka.for_certificates,
            "kafka_security_protocol": "SSL",
            "kafka_ssl_ca_file": authority.certificate,
        }
    said = await refusal(Settings(**given))
    assert says in said
    assert secure_kafka.password not in said


@pytest.mark.redis
async def test_a_worker_that_redis_refuses_ends_and_says_what_to_do(secure_redis, authority, name_prefix, tmp_path):
    secure_redis.allow(*rules(name_prefix))
    given = redis_of(secure_redis, authority, redis_password="sentinel-wrong")
    says = "set the user in redis_url and its password in redis_password"
    with members(name_prefix, tmp_path, kafka_bootstrap_servers="127.0.0.1:9", **given) as workers:
        worker = workers.start()
        checked, rates = await asyncio.gather(run(workers.settings, "check"), run(workers.settings, "rates"))
        assert await asyncio.to_thread(worker.process.wait, LIMIT) == 1
    for code, said in (checked, rates, (1, worker.said)):
        assert code == 1
        assert says in said
        assert "Traceback" not in said
        assert "sentinel-wrong" not in said


@pytest.mark.redis
@pytest.mark.parametrize(
    ("wrong", "granted", "kind", "says"),
    [
        ({"redis_ca_file": "stranger"}, [], TablesUnavailableError, "set redis_ca_file"),
        ({"redis_ca_file": None}, [], TablesUnavailableError, "set redis_ca_file"),
        ({"redis_url": "plain"}, [], TablesUnavailableError, "Redis cannot be reached"),
        ({}, ["-smembers"], TablesRefusedError, "'smembers' command: grant this user what is missing"),
        ({}, ["resetkeys", "~other:*"], TablesRefusedError, "keys used as arguments: grant this user what is missing"),
    ],
)
async def test_a_refusal_of_redis_says_what_to_set_or_grant(
    secure_redis, authority, stranger, name_prefix, wrong, granted, kind, says
):
    secure_redis.allow(*rules(name_prefix), *granted)
    given = redis_of(secure_redis, authority, **wrong)
    if given["redis_ca_file"] == "stranger":
        given["redis_ca_file"] = stranger.certificate
    if given["redis_url"] == "plain":
        given["redis_url"] = secure_redis.tls_url.replace("rediss", "redis")
    tables = connect(Settings(redis_prefix=name_prefix, **given))
    try:
        with pytest.raises(kind) as refused:
            await tables.summaries()
    finally:
        await tables.close()
    assert says in str(refused.value)
    assert secure_redis.password not in str(refused.value)


@pytest.mark.redis
@pytest.mark.embedded
async def test_a_worker_shows_redis_its_certificate(mutual_redis, embedded_broker, authority, name_prefix, tmp_path):
    mutual_redis.allow(*rules(name_prefix))
    certificate, key = authority.issue("worker-at-redis")
    given = redis_of(mutual_redis, authority, redis_cert_file=certificate, redis_key_file=key)
    given["kafka_bootstrap_servers"] = embedded_broker.bootstrap_servers
    with members(name_prefix, tmp_path, **given) as workers:
        worker = workers.start()
        await workers.until_shared(lambda shares: shares == [8])
        code, said = await run(workers.settings, "rates", "--json")
        assert code == 0, said
        assert await worker.stop() == 0


@pytest.mark.redis
@pytest.mark.parametrize(
    ("shown", "says"),
    [
        (None, "requires a client certificate.* set redis_cert_file and redis_key_file"),
        (
            "stranger",
            "(does not trust the signer .* check redis_cert_file|set redis_cert_file .* to one whose signer it trusts)",
        ),
    ],
)
async def test_a_redis_that_misses_a_certificate_says_which_setting_is_missing(
    mutual_redis, authority, stranger, name_prefix, shown, says
):
    mutual_redis.allow(*rules(name_prefix))
    given = redis_of(mutual_redis, authority)
    if shown:
        certificate, key = stranger.issue("worker-at-redis")
        given |= {"redis_cert_file": certificate, "redis_key_file": key}
    tables = connect(Settings(redis_prefix=name_prefix, **given))
    try:
        for _ in range(5):  # whether the reason or the end of the connection arrives first differs
            with pytest.raises(TablesUnavailableError, match=says):
                await tables.summaries()
    finally:
        await tables.close()


@pytest.mark.redis
async def test_the_error_names_a_command_that_a_script_may_not_run(secure_redis, authority, name_prefix, tmp_path):
    settings = Settings(redis_prefix=name_prefix, **redis_of(secure_redis, authority))
    listed = {rule for rule in rules(name_prefix) if rule.startswith("+")}
    for missing, command in (("+hgetall", "hgetall"), ("+hset", "hset")):
        secure_redis.allow(f"~{name_prefix}*", *(listed - {missing}))
        tables = connect(settings)
        try:
            with pytest.raises(TablesRefusedError, match=f"may not run '{command}'"):
                await tables.claim(ShardId("t", 0), secrets.token_bytes(16))
        finally:
            await tables.close()


def test_the_documented_commands_are_those_of_the_decision():
    decision = (DOCS / "decisions" / "0003-tables.md").read_text()
    listed = re.findall(r"`([a-z]+)`", decision.partition("The user needs, on P`*`: ")[2].partition(".\n")[0])
    assert {f"+{name}" for name in listed} == {rule for rule in rules("") if rule.startswith("+")}


def sentinel_traffic(person):
    """Valid events and bad records, all with fields that contain this customer's name."""
    for event in (*traffic.checkouts(20), *traffic.subscriptions(5)):
        body = json.loads(event.value)
        body["id"] = f"{person}-event-{body['id']}"
        data = body["data"]
        data |= {"customer_id": f"{person}-customer", "anonymous_id": f"{person}-anonymous"}
        if event.topic == traffic.CHECKOUT:
            data |= {
                "checkout_id": f"{person}-{data['checkout_id']}",
                "order_id": f"{person}-order",
                "coupon": f"{person}-coupon",
            }
            body["subject"] = f"checkout/{data['checkout_id']}"
            for line in data["products"]:
                line["name"] = f"{person}-name"
        else:
            data["subscription_id"] = f"{person}-{data['subscription_id']}"
            body["subject"] = f"subscription/{data['subscription_id']}"
        yield event._replace(key=person.encode(), value=json.dumps(body).encode())
        for poison in (
            {"time": person},
            {"type": person},
            {"subject": f"checkout/{person}-other"},
            {"specversion": person},
            {"data": data | {"customer_id": [person]}},
            {"data": data | {"currency": person}},
            {
                "data": data
                | {person: {"price": person}, "products": [{"sku": person, "quantity": person, "price": person}]}
            },
        ):
            yield event._replace(key=person.encode(), value=json.dumps(body | poison).encode())
    yield traffic.Sent(traffic.CHECKOUT, person.encode(), f"{{not JSON, of {person}".encode())


PAGES = ("/metrics", "/livez", "/readyz", "/api/v1/rates", "/api/v1/offers", "/api/v1/drivers", "/page.json", "/")


@pytest.mark.embedded
async def test_no_secret_and_no_customer_is_exposed(embedded_broker, embedded_valkey, name_prefix, tmp_path):
    key, person = f"sentinel{secrets.token_hex(8)}", f"person{secrets.token_hex(8)}"
    given = {"customer_hash_key": key, "log_level": "debug"}
    with group(embedded_broker.bootstrap_servers, embedded_valkey.url, name_prefix, tmp_path, **given) as workers:
        worker = await workers.begin(sentinel_traffic(person))
        async with asyncio.timeout(LIMIT):
            while "upsell_window_" not in await worker.get("/metrics"):  # noqa: ASYNC110 - a page has no event
                await asyncio.sleep(0.1)
        pages = [await worker.get(path) for path in PAGES]
        assert await read_topic(embedded_broker.bootstrap_servers, workers.settings.dead_letter_topic)
        assert await worker.stop() == 0
    for text in (*pages, worker.said):
        assert person not in text
        assert key not in text


@pytest.mark.embedded
async def test_a_halt_after_a_defect_exposes_no_customer(embedded_broker, embedded_valkey, name_prefix, tmp_path):
    person = f"person{secrets.token_hex(8)}"
    with group(embedded_broker.bootstrap_servers, embedded_valkey.url, name_prefix, tmp_path) as workers:
        worker = await workers.begin(sentinel_traffic(person))
        tables = connect(workers.settings)
        keys = tables._keys.shard(ShardId(workers.settings.checkout_topic, 0))
        try:
            # Damage the stored entities, so that the next load of one fails.
            for bucket in map(keys.entities.key, range(keys.entities.size)):
                for field in await tables._call(b"HKEYS", bucket):
                    await tables._call(b"HSET", bucket, field, person.encode())
        finally:
            await tables.close()
        assert await worker.stop() == 0
        again = workers.start()
        await workers.send(sentinel_traffic(person))
        await workers.until_said(again, ": halted: ")
        ready = urllib.request.Request(again.url + "/readyz")
        pages = [await again.get("/metrics"), await asyncio.to_thread(_read, ready)]
        assert await again.stop() == 0
    for text in (*pages, worker.said, again.said):
        assert person not in text


def _read(request):
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()


SECRETS = ("kafka_sasl_password", "redis_password", "customer_hash_key")


async def test_no_secret_is_exposed_while_nothing_answers(name_prefix, tmp_path):
    hidden = {name: f"sentinel-{name}-{secrets.token_hex(4)}" for name in (*SECRETS, "http_token")}
    (tmp_path / "token").write_text(hidden["http_token"])
    file = tmp_path / "password"
    file.write_text(hidden["kafka_sasl_password"])
    url = f"redis://user:{hidden['redis_password']}@127.0.0.1:9/0"
    given = {
        "kafka_security_protocol": "SASL_PLAINTEXT",
        "kafka_sasl_username": "user",
        "kafka_sasl_password_file": file,
        "customer_hash_key": hidden["customer_hash_key"],
        "http_token_file": tmp_path / "token",
        "log_level": "debug",
    }
    with group("127.0.0.1:9", url, name_prefix, tmp_path, **given) as workers:
        worker = workers.start()
        await workers.until_said(worker, "waiting for ")
        pages = [await asyncio.to_thread(_read, worker.url + path) for path in PAGES]
        (_, checked), (_, rates) = await asyncio.gather(
            run(workers.settings, "check", "--timeout", "2"), run(workers.settings, "rates")
        )
        assert await worker.stop() == 0
    for text in (*pages, checked, rates, worker.said, repr(workers.settings), str(workers.settings)):
        for secret in hidden.values():
            assert secret not in text
