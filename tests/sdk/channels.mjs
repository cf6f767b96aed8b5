// Subscriptions: what flows in channels, who may do what, and tokens for single channels.

import assert from 'node:assert/strict';
import { inSeconds, mint, pause, until } from '../support/server.mjs';
import { event, refusal } from './clients.mjs';

/** A subscription token of ann that ends in so many seconds. */
const channelToken = (clients, channel, seconds) =>
  clients.server.token(clients.user('ann'), { channel, exp: inSeconds(seconds) });

export const cases = {
  async 'a publication reaches all subscribers, with its author'(clients) {
    const channel = clients.channel('open');
    const [ann, bob] = [await clients.as('ann'), await clients.as('bob')];
    const from = await clients.subscribed(ann, channel);
    const to = await clients.subscribed(bob, channel);
    await from.publish(clients.data({ text: 'hello' }));
    for (const subscription of [from, to]) {
      const publication = await event(subscription.seen, 'publication');
      assert.deepEqual(clients.value(publication.data), { text: 'hello' });
      assert.equal(publication.info.user, clients.user('ann'));
      assert.equal(publication.offset, 1);
    }
  },

  async 'what the backend publishes has no author, and keeps its tags'(clients) {
    const channel = clients.channel('open');
    const subscription = await clients.subscribed(await clients.as('ann'), channel);
    const data = { unicode: '\u{1f980}', nested: [null, { a: 1 }] };
    await clients.server.api('publish', { channel, data, tags: { kind: 'test' } });
    const publication = await event(subscription.seen, 'publication');
    assert.deepEqual(clients.value(publication.data), data);
    assert.equal(publication.info, undefined);
    assert.deepEqual({ ...publication.tags }, { kind: 'test' });
  },

  async 'an idempotency key publishes once'(clients) {
    const channel = clients.channel('open');
    const subscription = await clients.subscribed(await clients.as('ann'), channel);
    const request = { channel, data: { n: 1 }, idempotency_key: clients.suffix };
    const [one, other] = [
      await clients.server.api('publish', request), await clients.server.api('publish', request),
    ];
    assert.deepEqual(one, other);
    await pause(200);
    assert.equal(subscription.seen.publication.length, 1);
  },

  async 'a broadcast reaches every channel'(clients) {
    const ann = await clients.as('ann');
    const names = [1, 2, 3].map((number) => `${clients.channel('open')}-${number}`);
    const all = await Promise.all(names.map((name) => clients.subscribed(ann, name)));
    await clients.server.api('broadcast', { channels: names, data: { n: 1 } });
    for (const subscription of all) await event(subscription.seen, 'publication');
  },

  async 'presence and its counts tell who is there'(clients) {
    const channel = clients.channel('open');
    const [ann, bob, third] = [
      await clients.as('ann'), await clients.as('bob'), await clients.as('bob'),
    ];
    const subscription = await clients.subscribed(ann, channel);
    await clients.subscribed(bob, channel);
    await clients.subscribed(third, channel);
    const users = Object.values((await subscription.presence()).clients).map((one) => one.user);
    const expected = ['ann', 'bob', 'bob'].map((name) => clients.user(name));
    assert.deepEqual(users.sort(), expected);
    const stats = await subscription.presenceStats();
    assert.deepEqual([stats.numClients, stats.numUsers], [3, 2]);
    third.disconnect();
    await until('one left', async () => (await subscription.presenceStats()).numClients === 2);
  },

  async 'joins and leaves arrive live'(clients) {
    const channel = clients.channel('open');
    const [ann, bob] = [await clients.as('ann'), await clients.as('bob')];
    const subscription = await clients.subscribed(ann, channel, { joinLeave: true });
    const other = await clients.subscribed(bob, channel);
    const isBob = (one) => one.info.user === clients.user('bob');
    await until('bob joined', () => subscription.seen.join.some(isBob));
    other.unsubscribe();
    await until('bob left', () => subscription.seen.leave.some(isBob));
    assert.equal(other.seen.join.length, 0, 'who did not ask is not told');
  },

  async 'history is read from both ends and from a position'(clients) {
    const channel = clients.channel('open');
    const subscription = await clients.subscribed(await clients.as('ann'), channel);
    for (let n = 1; n <= 10; n += 1) await clients.publish(channel, { n });
    const read = async (options) => {
      const answer = await subscription.history(options);
      return clients.values(answer.publications).map((value) => value.n);
    };
    const first = await subscription.history({ limit: 0 });
    assert.deepEqual([first.publications.length, first.offset], [0, 10]);
    assert.equal(typeof first.epoch, 'string');
    assert.deepEqual(await read({ limit: 3 }), [1, 2, 3]);
    assert.deepEqual(await read({ limit: 3, reverse: true }), [10, 9, 8]);
    const since = { offset: 7, epoch: first.epoch };
    assert.deepEqual(await read({ limit: 10, since }), [8, 9, 10]);
    assert.deepEqual(await read({ limit: 2, since, reverse: true }), [6, 5]);
    const lost = { offset: 7, epoch: 'another' };
    assert.equal(await refusal(subscription.history({ limit: 1, since: lost })), 112);
  },

  async 'what is not configured is not available'(clients) {
    const subscription = await clients.subscribed(await clients.as('a'), clients.channel('silent'));
    assert.equal(await refusal(subscription.presence()), 108);
    assert.equal(await refusal(subscription.presenceStats()), 108);
    assert.equal(await refusal(subscription.history({ limit: 1 })), 108);
    assert.equal(await refusal(subscription.publish(clients.data({}))), 103);
  },

  async 'who may not subscribe is refused with 103'(clients) {
    const client = await clients.as('ann');
    for (const channel of [clients.channel('private'), clients.channel('')]) {
      const ended = await event(clients.subscribing(client, channel).seen, 'unsubscribed');
      assert.equal(ended.code, 103, channel);
    }
    const anonymous = await clients.connected();
    const silent = clients.subscribing(anonymous, clients.channel('silent'));
    assert.equal((await event(silent.seen, 'unsubscribed')).code, 103);
  },

  async 'an unknown namespace is 102'(clients) {
    const client = await clients.as('ann');
    const subscription = clients.subscribing(client, 'nosuch:channel');
    assert.equal((await event(subscription.seen, 'unsubscribed')).code, 102);
    assert.equal(await refusal(client.publish('nosuch:channel', clients.data({}))), 102);
  },

  async 'one channel more than the limit is 106'(clients) {
    const client = await clients.as('ann');
    const limit = clients.server.config.client.channel_limit;
    // The personal channel is one of them.
    for (let number = 1; number < limit; number += 1) {
      await clients.subscribed(client, `${clients.channel('open')}-${number}`);
    }
    const over = clients.subscribing(client, `${clients.channel('open')}-over`);
    assert.equal((await event(over.seen, 'unsubscribed')).code, 106);
  },

  async 'a subscription token opens a channel that is closed otherwise'(clients) {
    const channel = clients.channel('private');
    const token = clients.server.token(clients.user('ann'), { channel, info: { role: 'guest' } });
    const subscription = await clients.subscribed(await clients.as('ann'), channel, { token });
    await clients.publish(channel, { n: 1 });
    await event(subscription.seen, 'publication');
  },

  async 'a subscription token of another user, channel or key is refused with 3500'(clients) {
    const channel = clients.channel('private');
    const ann = clients.user('ann');
    const secret = clients.server.config.client.token.hmac_secret_key;
    const tokens = [
      mint(secret, { sub: 'bob', channel }), mint(secret, { sub: ann, channel: `${channel}x` }),
      mint('another', { sub: ann, channel }), mint(secret, { sub: ann }), 'x',
    ];
    for (const token of tokens) {
      const client = await clients.as('ann');
      clients.subscribing(client, channel, { token });
      assert.equal((await event(client.seen, 'disconnected')).code, 3500, token);
    }
  },

  async 'an expired subscription token is 109, and a new one is asked for'(clients) {
    const channel = clients.channel('private');
    let asked = 0;
    const make = (seconds) => channelToken(clients, channel, seconds);
    const getToken = async () => { asked += 1; return make(60); };
    await clients.subscribed(await clients.as('ann'), channel, { token: make(-10), getToken });
    assert.equal(asked, 1);
  },

  async 'a subscription token is refreshed before it ends'(clients) {
    const channel = clients.channel('private');
    let asked = 0;
    const make = (seconds) => channelToken(clients, channel, seconds);
    const getToken = async () => { asked += 1; return make(60); };
    const client = await clients.as('ann');
    const subscription = await clients.subscribed(client, channel, { token: make(2), getToken });
    await pause(4500);
    assert.equal(asked, 1);
    assert.deepEqual([subscription.state, subscription.seen.subscribed.length], ['subscribed', 1]);
  },

  async 'a subscription that is not refreshed ends with 2501 and comes back'(clients) {
    const channel = clients.channel('private');
    let asked = 0;
    const make = (seconds) => channelToken(clients, channel, seconds);
    const getToken = () => {
      asked += 1;
      return asked === 1 ? new Promise(() => {}) : Promise.resolve(make(60));
    };
    const client = await clients.as('ann');
    const subscription = await clients.subscribed(client, channel, { token: make(2), getToken });
    assert.equal((await event(subscription.seen, 'subscribing', 2, 8000)).code, 2501);
    await event(subscription.seen, 'subscribed', 2);
    assert.equal(client.state, 'connected');
  },

  async 'the backend unsubscribes a user with 2000'(clients) {
    const channel = clients.channel('open');
    const subscription = await clients.subscribed(await clients.as('ann'), channel);
    await clients.server.api('unsubscribe', { user: clients.user('ann'), channel });
    assert.equal((await event(subscription.seen, 'unsubscribed')).code, 2000);
  },

  async 'who left may join again and hears nothing in between'(clients) {
    const channel = clients.channel('open');
    const subscription = await clients.subscribed(await clients.as('ann'), channel);
    subscription.unsubscribe();
    await event(subscription.seen, 'unsubscribed');
    await clients.publish(channel, { n: 1 });
    subscription.subscribe();
    await subscription.ready(3000);
    await clients.publish(channel, { n: 2 });
    await event(subscription.seen, 'publication');
    assert.deepEqual(clients.values(subscription.seen.publication), [{ n: 2 }]);
  },
};
