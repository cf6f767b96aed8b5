// Connecting, tokens, calls, and what the backend does to connections.

import assert from 'node:assert/strict';
import { inSeconds, mint, pause } from '../support/server.mjs';
import { event, refusal } from './clients.mjs';

/** Connects with a token that is to be refused, and returns how the library ended. */
async function ended(clients, options) {
  const client = clients.make(options);
  client.connect();
  return event(client.seen, 'disconnected');
}

export const cases = {
  async 'a client without a token is anonymous'(clients) {
    const client = await clients.connected();
    const connected = await event(client.seen, 'connected');
    assert.match(connected.client, /^[0-9a-f-]{36}$/);
    assert.equal(connected.transport, 'websocket');
  },

  async 'a token names the user and carries info'(clients) {
    const client = await clients.as('ann', { info: { name: 'Ann' } });
    const subscription = await clients.subscribed(client, clients.channel('open'));
    const [info] = Object.values((await subscription.presence()).clients);
    assert.equal(info.user, clients.user('ann'));
    assert.deepEqual(clients.value(info.connInfo), { name: 'Ann' });
  },

  async 'a token of another key is refused for good with 3500'(clients) {
    const token = mint('another secret', { sub: 'ann' });
    assert.equal((await ended(clients, { token })).code, 3500);
  },

  async 'invalid tokens are refused for good with 3500'(clients) {
    const good = clients.server.token('ann');
    const [head, body] = good.split('.');
    const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${body}.`;
    for (const token of ['x', 'a.b.c', `${head}.${body}.`, `${head}.${body}`, none, `${good}A`]) {
      assert.equal((await ended(clients, { token })).code, 3500, token);
    }
  },

  async 'an expired token is answered with 109, and a new one is asked for'(clients) {
    let asked = 0;
    const client = clients.make({
      token: clients.server.token('ann', { exp: inSeconds(-10) }),
      getToken: async () => { asked += 1; return clients.server.token('ann'); },
    });
    client.connect();
    await client.ready(3000);
    assert.equal(asked, 1);
  },

  async 'an expired token without a way to get another ends the connection'(clients) {
    const token = clients.server.token('ann', { exp: inSeconds(-10) });
    // 1: the library's own "unauthorized".
    assert.equal((await ended(clients, { token })).code, 1);
  },

  async 'a token is refreshed before it ends'(clients) {
    let asked = 0;
    const client = await clients.as('ann', { exp: inSeconds(2) }, {
      getToken: async () => {
        asked += 1;
        return clients.server.token(clients.user('ann'), { exp: inSeconds(60) });
      },
    });
    await pause(4500);
    assert.equal(asked, 1);
    assert.equal(client.state, 'connected');
    assert.equal(client.seen.connected.length, 1);
  },

  async 'a connection whose token is not refreshed is closed with 3005'(clients) {
    // Two: of one, nothing is left when it is made at the end of a second.
    const token = clients.server.token('ann', { exp: inSeconds(2) });
    const client = await clients.connected({ token, getToken: () => new Promise(() => {}) });
    const connecting = await event(client.seen, 'connecting', 2, 8000);
    assert.equal(connecting.code, 3005);
  },

  async 'known methods answer, unknown ones are 104'(clients) {
    const client = await clients.connected();
    const answer = await client.rpc('ping', clients.data({ a: [1, 'ü'] }));
    assert.deepEqual(clients.value(answer.data), { a: [1, 'ü'] });
    assert.ok(clients.value((await client.rpc('time', clients.data({}))).data).unix_ms > 1e12);
    assert.equal(await refusal(client.rpc('nosuch', clients.data({}))), 104);
  },

  async 'the backend disconnects a user for good or for now'(clients) {
    const client = await clients.as('ann');
    const user = clients.user('ann');
    await clients.server.api('disconnect', { user, disconnect: { code: 3011, reason: 'again' } });
    assert.equal((await event(client.seen, 'connecting', 2)).code, 3011);
    await event(client.seen, 'connected', 2);
    await clients.server.api('disconnect', { user });
    assert.equal((await event(client.seen, 'disconnected')).code, 3503);
  },

  async 'the backend disconnects one client of a user'(clients) {
    const [one, other] = [await clients.as('ann'), await clients.as('ann')];
    const { client } = one.seen.connected[0];
    await clients.server.api('disconnect', { user: clients.user('ann'), client });
    await event(one.seen, 'disconnected');
    assert.equal((await other.rpc('ping', clients.data({}))) !== undefined, true);
    assert.equal(other.state, 'connected');
  },

  async 'channels of the token are subscribed by the server'(clients) {
    const channel = clients.channel('server');
    const client = await clients.as('ann', { channels: [channel] });
    const subscribed = await event(client.seen, 'subscribed');
    assert.equal(subscribed.channel, channel);
    assert.equal(subscribed.recoverable, true);
    await clients.publish(channel, { n: 1 });
    const publication = await event(client.seen, 'publication');
    assert.deepEqual(clients.value(publication.data), { n: 1 });
    assert.equal(publication.channel, channel);
  },

  async 'subs of the token carry data and overrides'(clients) {
    const channel = clients.channel('silent');
    const subs = { [channel]: { data: { hello: 'ann' }, override: { presence: { value: true } } } };
    const client = await clients.as('ann', { subs });
    const subscribed = await event(client.seen, 'subscribed');
    assert.deepEqual(clients.value(subscribed.data), { hello: 'ann' });
  },

  async 'every user has a personal channel'(clients) {
    const client = await clients.as('ann');
    const channel = `personal:#${clients.user('ann')}`;
    assert.equal((await event(client.seen, 'subscribed')).channel, channel);
    await clients.publish(channel, { for: 'ann' });
    const publication = await event(client.seen, 'publication');
    assert.deepEqual(clients.value(publication.data), { for: 'ann' });
  },

  async 'the backend subscribes and unsubscribes a user'(clients) {
    const client = await clients.as('ann');
    const [channel, user] = [clients.channel('server'), clients.user('ann')];
    await clients.server.api('subscribe', { user, channel });
    const subscribed = await event(client.seen, 'subscribed', 2);
    assert.equal(subscribed.channel, channel);
    await clients.publish(channel, { n: 1 });
    await event(client.seen, 'publication');
    await clients.server.api('unsubscribe', { user, channel });
    assert.equal((await event(client.seen, 'unsubscribed')).channel, channel);
    await clients.publish(channel, { n: 2 });
    await pause(200);
    assert.equal(client.seen.publication.length, 1);
  },

  async 'server-side subscriptions recover after a reconnect'(clients) {
    const channel = clients.channel('server');
    const client = await clients.as('ann', { channels: [channel] });
    await clients.publish(channel, { n: 0 });
    await event(client.seen, 'publication');
    client.disconnect();
    for (let n = 1; n <= 5; n += 1) await clients.publish(channel, { n });
    client.connect();
    await event(client.seen, 'publication', 6);
    await pause(100);
    const numbers = clients.values(client.seen.publication).map((value) => value.n);
    assert.deepEqual(numbers, [0, 1, 2, 3, 4, 5]);
    const again = client.seen.subscribed.filter((one) => one.channel === channel)[1];
    assert.equal(again.recovered, true);
  },
};
