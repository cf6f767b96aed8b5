"""The cases of python_sdk.py."""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import time
import traceback

from centrifuge import Client, ClientEventHandler, ReplyError, SubscriptionEventHandler

CASE_SECONDS_MAX = 20


class Seen:
    """Keeps events by name; a handler for clients and subscriptions alike."""

    def __init__(self):
        self.events = {}

    def __getattribute__(self, name):
        if not name.startswith("on_"):
            return object.__getattribute__(self, name)

        async def keep(context):
            self.events.setdefault(name[3:], []).append(context)
        return keep

    def count(self, name):
        return len(self.events.get(name, []))

    async def event(self, name, count=1, seconds=5):
        await until(lambda: self.count(name) >= count, f"{count} × {name}", seconds)
        return self.events[name][count - 1]


class ClientSeen(Seen, ClientEventHandler):
    """For clients."""


class SubscriptionSeen(Seen, SubscriptionEventHandler):
    """For subscriptions."""


async def until(check, what, seconds=5):
    give_up = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < give_up, f"waited {seconds} s in vain: {what}"
        await asyncio.sleep(0.01)


class World:
    """One case: its names and its clients."""

    def __init__(self, server, protobuf):
        self.server, self.protobuf, self.clients = server, protobuf, []
        self.suffix = secrets.token_hex(6)

    def channel(self, namespace):
        return f"{namespace}:{self.suffix}"

    def user(self, name):
        return f"{name}-{self.suffix}"

    def token(self, name, secret=None, **claims):
        secret = secret or self.server.config["client"]["token"]["hmac_secret_key"]
        parts = [{"alg": "HS256", "typ": "JWT"}, {"sub": self.user(name), **claims}]
        signed = b".".join(base64url(json.dumps(part).encode()) for part in parts)
        signature = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
        return (signed + b"." + base64url(signature)).decode()

    async def make(self, **options):
        seen = ClientSeen()
        client = Client(
            f"ws://127.0.0.1:{self.server.port}/connection/websocket", events=seen,
            use_protobuf=self.protobuf, min_reconnect_delay=0.02, proxy=None, **options)
        client.seen = seen
        self.clients.append(client)
        await client.connect()
        return client

    async def client(self, name=None, **claims):
        options = {"token": self.token(name, **claims)} if name else {}
        client = await self.make(**options)
        await client.ready(3)
        return client

    async def subscribe(self, client, channel, ready=True, **options):
        seen = SubscriptionSeen()
        subscription = client.new_subscription(channel, events=seen, **options)
        subscription.seen = seen
        await subscription.subscribe()
        if ready:
            await subscription.ready(3)
        return subscription

    def data(self, value):
        return json.dumps(value).encode() if self.protobuf else value

    def value(self, data):
        return json.loads(data) if self.protobuf else data

    def numbers(self, subscription):
        events = subscription.seen.events.get("publication", [])
        return [self.value(event.pub.data)["n"] for event in events]

    async def api(self, method, **body):
        answer = await asyncio.to_thread(self.server.api, method, body)
        assert "error" not in answer, answer
        return answer["result"]

    async def publish(self, channel, first, last):
        for number in range(first, last + 1):
            await self.api("publish", channel=channel, data={"n": number})


def base64url(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=")


async def refusal(awaitable):
    try:
        await awaitable
    except ReplyError as error:
        return error.code
    return 0


async def connects_with_and_without_a_token(world):
    await world.client()
    ann = await world.client("ann", info={"name": "Ann"})
    subscription = await world.subscribe(ann, world.channel("open"))
    [info] = (await subscription.presence()).clients.values()
    assert info.user == world.user("ann")


async def a_token_of_another_key_is_refused_with_3500(world):
    client = await world.make(token=world.token("ann", secret="another"))
    assert (await client.seen.event("disconnected")).code == 3500


async def an_expired_token_is_replaced(world):
    asked = []

    async def get_token():
        asked.append(1)
        return world.token("ann")
    expired = world.token("ann", exp=int(time.time()) - 10)
    client = await world.make(token=expired, get_token=get_token)
    await client.ready(3)
    assert len(asked) == 1


async def a_token_is_refreshed_before_it_ends(world):
    asked = []

    async def get_token():
        asked.append(1)
        return world.token("ann", exp=int(time.time()) + 60)
    soon = world.token("ann", exp=int(time.time()) + 2)
    client = await world.make(token=soon, get_token=get_token)
    await client.ready(3)
    await asyncio.sleep(4)
    assert (len(asked), client.seen.count("connected")) == (1, 1)


async def publications_joins_and_leaves_arrive(world):
    channel = world.channel("open")
    ann, bob = await world.client("ann"), await world.client("bob")
    one = await world.subscribe(ann, channel, join_leave=True)
    other = await world.subscribe(bob, channel)
    await other.publish(world.data({"n": 1}))
    publication = (await one.seen.event("publication")).pub
    assert world.value(publication.data) == {"n": 1}
    assert (publication.info.user, publication.offset) == (world.user("bob"), 1)
    await other.unsubscribe()
    assert (await one.seen.event("leave")).info.user == world.user("bob")
    joined = [event.info.user for event in one.seen.events["join"]]
    assert world.user("bob") in joined, joined


async def presence_and_its_counts(world):
    channel = world.channel("open")
    one = await world.subscribe(await world.client("ann"), channel)
    await world.subscribe(await world.client("bob"), channel)
    await world.subscribe(await world.client("bob"), channel)
    assert len((await one.presence()).clients) == 3
    stats = await one.presence_stats()
    assert (stats.num_clients, stats.num_users) == (3, 2)


async def history_is_read(world):
    channel = world.channel("open")
    subscription = await world.subscribe(await world.client("ann"), channel)
    await world.publish(channel, 1, 10)
    answer = await subscription.history(limit=3, reverse=True)
    assert [world.value(one.data)["n"] for one in answer.publications] == [10, 9, 8]
    assert answer.offset == 10


async def calls_answer_or_say_104(world):
    client = await world.client()
    answer = await client.rpc("ping", world.data({"a": [1, "ü"]}))
    assert world.value(answer.data) == {"a": [1, "ü"]}
    assert await refusal(client.rpc("nosuch", world.data({}))) == 104


async def refusals_have_their_codes(world):
    client = await world.client("ann")
    for channel, code in [(world.channel("private"), 103), ("nosuch:x", 102)]:
        subscription = await world.subscribe(client, channel, ready=False)
        assert (await subscription.seen.event("unsubscribed")).code == code, channel
    silent = await world.subscribe(client, world.channel("silent"))
    assert await refusal(silent.presence()) == 108
    assert await refusal(silent.publish(world.data({}))) == 103


async def a_subscription_token_opens_a_channel(world):
    channel = world.channel("private")
    asked = []

    async def get_token(_):
        asked.append(1)
        return world.token("ann", channel=channel, exp=int(time.time()) + 60)
    expired = world.token("ann", channel=channel, exp=int(time.time()) - 10)
    client = await world.client("ann")
    await world.subscribe(client, channel, token=expired, get_token=get_token)
    assert len(asked) == 1


async def a_subscription_token_is_refreshed(world):
    channel = world.channel("private")
    asked = []

    async def get_token(_):
        asked.append(1)
        return world.token("ann", channel=channel, exp=int(time.time()) + 60)
    soon = world.token("ann", channel=channel, exp=int(time.time()) + 2)
    client = await world.client("ann")
    subscription = await world.subscribe(client, channel, token=soon, get_token=get_token)
    await asyncio.sleep(4)
    assert (len(asked), subscription.seen.count("subscribed")) == (1, 1)


async def server_side_subscriptions_and_the_personal_channel(world):
    channel = world.channel("server")
    client = await world.client("ann", channels=[channel])
    personal = f"personal:#{world.user('ann')}"
    await client.seen.event("subscribed", 2)
    assert {one.channel for one in client.seen.events["subscribed"]} == {channel, personal}
    await world.publish(channel, 1, 1)
    await world.publish(personal, 2, 2)
    await client.seen.event("publication", 2)
    seen = {one.channel: world.value(one.pub.data)["n"]
            for one in client.seen.events["publication"]}
    assert seen == {channel: 1, personal: 2}


async def the_backend_unsubscribes_and_disconnects(world):
    channel = world.channel("open")
    client = await world.client("ann")
    subscription = await world.subscribe(client, channel)
    await world.api("unsubscribe", user=world.user("ann"), channel=channel)
    assert (await subscription.seen.event("unsubscribed")).code == 2000
    await world.api("disconnect", user=world.user("ann"))
    assert (await client.seen.event("disconnected")).code == 3503


async def what_was_missed_is_recovered_in_order(world):
    channel = world.channel("recovery")
    client = await world.client("ann")
    subscription = await world.subscribe(client, channel)
    await world.publish(channel, 1, 3)
    await subscription.seen.event("publication", 3)
    await client.disconnect()
    await world.publish(channel, 4, 40)
    await client.connect()
    await subscription.seen.event("publication", 40)
    await world.publish(channel, 41, 43)
    await subscription.seen.event("publication", 43)
    await asyncio.sleep(0.1)
    assert world.numbers(subscription) == list(range(1, 44))
    assert (await subscription.seen.event("subscribed", 2)).recovered


async def beyond_the_window_is_not_recovered(world):
    channel = world.channel("smallhistory")
    client = await world.client("ann")
    subscription = await world.subscribe(client, channel)
    await world.publish(channel, 1, 1)
    await subscription.seen.event("publication")
    await client.disconnect()
    await world.publish(channel, 2, 11)
    await client.connect()
    again = await subscription.seen.event("subscribed", 2)
    assert (again.was_recovering, again.recovered) == (True, False)


async def a_user_thrown_out_in_the_middle_recovers(world):
    channel = world.channel("recovery")
    client = await world.client("ann")
    subscription = await world.subscribe(client, channel)
    publishing = asyncio.create_task(world.publish(channel, 1, 60))
    disconnect = {"code": 3011, "reason": "test"}
    await world.api("disconnect", user=world.user("ann"), disconnect=disconnect)
    await publishing
    await subscription.seen.event("publication", 60)
    await asyncio.sleep(0.1)
    assert world.numbers(subscription) == list(range(1, 61))


CASES = [
    connects_with_and_without_a_token,
    a_token_of_another_key_is_refused_with_3500,
    an_expired_token_is_replaced,
    a_token_is_refreshed_before_it_ends,
    publications_joins_and_leaves_arrive,
    presence_and_its_counts,
    history_is_read,
    calls_answer_or_say_104,
    refusals_have_their_codes,
    a_subscription_token_opens_a_channel,
    a_subscription_token_is_refreshed,
    server_side_subscriptions_and_the_personal_channel,
    the_backend_unsubscribes_and_disconnects,
    what_was_missed_is_recovered_in_order,
    beyond_the_window_is_not_recovered,
    a_user_thrown_out_in_the_middle_recovers,
]


async def run(server, only):
    passed = failed = 0
    for protobuf in [False, True]:
        for case in CASES:
            name = f"{'protobuf' if protobuf else 'json'}: {case.__name__.replace('_', ' ')}"
            if only not in name:
                continue
            world = World(server, protobuf)
            try:
                await asyncio.wait_for(case(world), CASE_SECONDS_MAX)
                passed += 1
                print(f"ok      {name}", flush=True)
            except Exception:
                failed += 1
                print(f"FAILED  {name}\n{traceback.format_exc()}", flush=True)
            for client in world.clients:
                await client.disconnect()
    return passed, failed
