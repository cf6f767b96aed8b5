// Clients of one test case, in one wire format. They are closed when the case ends.

import { randomBytes } from 'node:crypto';
import { until } from '../support/server.mjs';

export class Clients {
  constructor(server, Client, format, websocket) {
    Object.assign(this, { server, Client, format, websocket, open: [] });
    // Every case has channels of its own.
    this.suffix = randomBytes(6).toString('hex');
  }

  channel(namespace) { return namespace ? `${namespace}:${this.suffix}` : this.suffix; }

  user(name) { return `${name}-${this.suffix}`; }

  /** A client that is not connected yet; its events are kept in `seen`. */
  make(options = {}) {
    const client = new this.Client(this.server.websocket, {
      websocket: this.websocket, minReconnectDelay: 20, maxReconnectDelay: 200, timeout: 3000,
      ...options,
    });
    client.seen = watch(client, [
      'connecting', 'connected', 'disconnected', 'error', 'publication', 'subscribed',
      'unsubscribed', 'join', 'leave',
    ]);
    this.open.push(client);
    return client;
  }

  async connected(options) {
    const client = this.make(options);
    client.connect();
    await client.ready(3000);
    return client;
  }

  /** A connected client of a user; `claims` go into its token. */
  as(name, claims = {}, options = {}) {
    return this.connected({ token: this.server.token(this.user(name), claims), ...options });
  }

  async subscribed(client, channel, options) {
    const subscription = this.subscribing(client, channel, options);
    await subscription.ready(3000);
    return subscription;
  }

  subscribing(client, channel, options) {
    const subscription = client.newSubscription(channel, options);
    subscription.seen = watch(subscription, [
      'subscribing', 'subscribed', 'unsubscribed', 'publication', 'join', 'leave', 'error',
    ]);
    subscription.subscribe();
    return subscription;
  }

  /** JSON as the format carries it: objects in JSON, bytes in Protobuf. */
  data(value) {
    return this.format === 'json' ? value : new TextEncoder().encode(JSON.stringify(value));
  }

  value(data) {
    return this.format === 'json' ? data : JSON.parse(new TextDecoder().decode(data));
  }

  values(publications) { return publications.map((one) => this.value(one.data)); }

  publish(channel, value) { return this.server.api('publish', { channel, data: value }); }

  /** Ends the connection below the library, as a network does. */
  cut(client) { client._transport.close(); }

  close() { this.open.forEach((client) => client.disconnect()); }
}

function watch(emitter, names) {
  const seen = {};
  for (const name of names) {
    seen[name] = [];
    emitter.on(name, (context) => seen[name].push(context));
  }
  return seen;
}

/** Waits for the event number `count` of a kind and returns it. */
export async function event(seen, name, count = 1, ms = 5000) {
  await until(`${count} × ${name}`, () => seen[name].length >= count, ms);
  return seen[name][count - 1];
}

/** The code with which a promise is refused. */
export async function refusal(promise) {
  try {
    await promise;
  } catch (error) {
    return error.code;
  }
  return 0;
}
