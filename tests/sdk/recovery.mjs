// After a reconnect: every publication once, in order, or an honest `recovered: false`.

import assert from 'node:assert/strict';
import { pause, until } from '../support/server.mjs';
import { event } from './clients.mjs';

const numbers = (clients, subscription) =>
  clients.values(subscription.seen.publication).map((value) => value.n);

const upTo = (last) => Array.from({ length: last }, (_, index) => index + 1);

async function publishRange(clients, channel, first, last) {
  for (let n = first; n <= last; n += 1) await clients.publish(channel, { n });
}

export const cases = {
  async 'what was published meanwhile is recovered in order'(clients) {
    const channel = clients.channel('recovery');
    const client = await clients.as('ann');
    const subscription = await clients.subscribed(client, channel);
    await publishRange(clients, channel, 1, 5);
    await event(subscription.seen, 'publication', 5);
    client.disconnect();
    await publishRange(clients, channel, 6, 60);
    client.connect();
    await event(subscription.seen, 'publication', 60);
    await publishRange(clients, channel, 61, 65);
    await event(subscription.seen, 'publication', 65);
    await pause(100);
    assert.deepEqual(numbers(clients, subscription), upTo(65));
    const again = subscription.seen.subscribed[1];
    assert.deepEqual([again.wasRecovering, again.recovered], [true, true]);
    const offsets = subscription.seen.publication.map((one) => one.offset);
    assert.deepEqual(offsets, upTo(65));
  },

  async 'a client that asks for recovery has it where it is allowed'(clients) {
    const channel = clients.channel('open');
    const client = await clients.as('ann');
    const options = { recoverable: true, positioned: true };
    const subscription = await clients.subscribed(client, channel, options);
    const first = subscription.seen.subscribed[0];
    assert.deepEqual([first.recoverable, first.positioned], [true, true]);
    client.disconnect();
    await publishRange(clients, channel, 1, 10);
    client.connect();
    await event(subscription.seen, 'publication', 10);
    assert.deepEqual(numbers(clients, subscription), upTo(10));
  },

  async 'beyond the window the answer is not recovered'(clients) {
    const channel = clients.channel('smallhistory');
    const client = await clients.as('ann');
    const subscription = await clients.subscribed(client, channel);
    await publishRange(clients, channel, 1, 1);
    await event(subscription.seen, 'publication');
    client.disconnect();
    await publishRange(clients, channel, 2, 11);
    client.connect();
    const again = await event(subscription.seen, 'subscribed', 2);
    assert.deepEqual([again.wasRecovering, again.recovered], [true, false]);
    await publishRange(clients, channel, 12, 12);
    await until('the next one', () => numbers(clients, subscription).includes(12));
    assert.deepEqual(subscription.seen.publication.at(-1).offset, 12);
  },

  async 'just within the window everything is recovered'(clients) {
    const channel = clients.channel('smallhistory');
    const client = await clients.as('ann');
    const subscription = await clients.subscribed(client, channel);
    await publishRange(clients, channel, 1, 1);
    await event(subscription.seen, 'publication');
    client.disconnect();
    await publishRange(clients, channel, 2, 3);
    client.connect();
    const again = await event(subscription.seen, 'subscribed', 2);
    assert.equal(again.recovered, true);
    await event(subscription.seen, 'publication', 3);
    assert.deepEqual(numbers(clients, subscription), [1, 2, 3]);
  },

  async 'another epoch is not recovered'(clients) {
    const channel = clients.channel('recovery');
    await publishRange(clients, channel, 1, 3);
    const client = await clients.as('ann');
    const since = { offset: 1, epoch: 'nope' };
    const subscription = await clients.subscribed(client, channel, { since });
    const first = subscription.seen.subscribed[0];
    assert.deepEqual([first.wasRecovering, first.recovered], [true, false]);
  },

  async 'a stream that is cut again and again has no gap and no repeat'(clients) {
    const channel = clients.channel('recovery');
    const client = await clients.as('ann');
    const subscription = await clients.subscribed(client, channel);
    const last = 90;
    const publishing = (async () => {
      for (let n = 1; n <= last; n += 1) {
        await clients.publish(channel, { n });
        await pause(4);
      }
    })();
    for (let round = 1; round <= 4; round += 1) {
      await pause(60);
      clients.cut(client);
      await event(client.seen, 'connected', round + 1);
    }
    await publishing;
    await event(subscription.seen, 'publication', last);
    await pause(100);
    assert.deepEqual(numbers(clients, subscription), upTo(last));
  },

  async 'a user thrown out in the middle recovers'(clients) {
    const channel = clients.channel('recovery');
    const client = await clients.as('ann');
    const subscription = await clients.subscribed(client, channel);
    const publishing = publishRange(clients, channel, 1, 80);
    const disconnect = { code: 3011, reason: 'test' };
    await clients.server.api('disconnect', { user: clients.user('ann'), disconnect });
    await publishing;
    await event(subscription.seen, 'publication', 80);
    await pause(100);
    assert.deepEqual(numbers(clients, subscription), upTo(80));
  },

  async 'a restarted server recovers from disk'(clients) {
    const channel = clients.channel('durable');
    const client = await clients.as('ann');
    const subscription = await clients.subscribed(client, channel);
    await publishRange(clients, channel, 1, 20);
    await event(subscription.seen, 'publication', 20);
    client.disconnect();
    // More than memory keeps: the rest comes from the store.
    await publishRange(clients, channel, 21, 300);
    await clients.server.end();
    await clients.server.run();
    client.connect();
    await publishRange(clients, channel, 301, 305);
    await event(subscription.seen, 'publication', 305);
    assert.deepEqual(numbers(clients, subscription), upTo(305));
    const again = subscription.seen.subscribed[1];
    assert.deepEqual([again.wasRecovering, again.recovered], [true, true]);
  },
};
