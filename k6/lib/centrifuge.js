// The client protocol of Centrifugo, as JSON, for k6: what a load needs of it.

import crypto from 'k6/crypto';
import encoding from 'k6/encoding';
import { Counter, Rate, Trend } from 'k6/metrics';
import { WebSocket } from 'k6/websockets';

export const connected = new Counter('ringway_connected');
export const dropped = new Counter('ringway_dropped');
export const errors = new Rate('ringway_errors');
export const connectTime = new Trend('ringway_connect_ms', true);
export const deliveries = new Counter('ringway_deliveries');
export const deliveryTime = new Trend('ringway_delivery_ms', true);
export const gaps = new Counter('ringway_gaps');
export const recovered = new Rate('ringway_recovered');

/// A JWT (HS256) for a user, as the server's client.token.hmac_secret_key wants it.
export function token(secret, user, ttlSeconds) {
  const part = (value) => encoding.b64encode(JSON.stringify(value), 'rawurl');
  const now = Math.floor(Date.now() / 1000);
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: user, exp: now + ttlSeconds })}`;
  return `${signed}.${crypto.hmac('sha256', secret, signed, 'base64rawurl')}`;
}

/// One client in one channel. Counts how it fares; `onPublication(data)` is called for each
/// publication of the channel.
export class Client {
  constructor(url, token, channel, onPublication) {
    this.url = url;
    this.token = token;
    this.channel = channel;
    this.onPublication = onPublication;
    this.nextId = 3;
    // Where it goes on after a drop: epoch and offset of the last publication.
    this.position = null;
    // Callbacks of replies that somebody waits for, by id.
    this.waiting = {};
    this.socket = null;
    this.isSubscribed = false;
    this.isEnded = false;
  }

  open(whenSubscribed) {
    if (this.isEnded) {
      return;
    }
    this.isSubscribed = false;
    const began = Date.now();
    const socket = new WebSocket(this.url);
    this.socket = socket;
    // What comes from a socket that was left counts no more.
    const ifCurrent = (act) => (event) => this.socket === socket && act(event);
    socket.onopen = ifCurrent(() => {
      const subscribe = { channel: this.channel };
      if (this.position) {
        Object.assign(subscribe, { recover: true }, this.position);
      }
      // In one frame: the server takes them in order.
      const commands = [{ id: 1, connect: { token: this.token } }, { id: 2, subscribe }];
      socket.send(commands.map((command) => JSON.stringify(command)).join('\n'));
    });
    socket.onmessage = ifCurrent((event) => {
      for (const line of event.data.split('\n')) {
        if (line === '{}') {
          socket.send('{}');
        } else if (line !== '') {
          this.hear(JSON.parse(line), began, whenSubscribed);
        }
      }
    });
    socket.onerror = ifCurrent(() => this.fail());
    socket.onclose = ifCurrent(() => this.fail());
  }

  hear(reply, began, whenSubscribed) {
    if (reply.push) {
      if (reply.push.pub) {
        this.take(reply.push.pub);
      } else if (reply.push.disconnect) {
        this.fail();
      }
    } else if (this.waiting[reply.id]) {
      this.waiting[reply.id](reply);
      delete this.waiting[reply.id];
    } else if (reply.error) {
      this.fail();
    } else if (reply.connect) {
      connectTime.add(Date.now() - began);
      connected.add(1);
    } else if (reply.subscribe) {
      const { epoch, offset, publications } = reply.subscribe;
      if (this.position) {
        const isRecovered = reply.subscribe.recovered === true;
        recovered.add(isRecovered);
        if (isRecovered) {
          (publications || []).forEach((publication) => this.take(publication));
        }
      }
      this.position = epoch === undefined ? null : { epoch, offset: offset || 0 };
      this.isSubscribed = true;
      errors.add(false);
      if (whenSubscribed) {
        whenSubscribed(this);
      }
    }
  }

  take(publication) {
    deliveries.add(1);
    if (this.position && publication.offset !== undefined) {
      if (publication.offset !== this.position.offset + 1) {
        errors.add(true);
        gaps.add(1);
      }
      this.position.offset = publication.offset;
    }
    this.onPublication(publication.data);
  }

  /// Sends a command, and calls `whenDone(reply)` if somebody wants to know.
  request(command, whenDone) {
    if (!this.isSubscribed) {
      return;
    }
    const id = this.nextId;
    this.nextId += 1;
    if (whenDone) {
      this.waiting[id] = whenDone;
    }
    this.socket.send(JSON.stringify(Object.assign({ id }, command)));
  }

  publish(data) {
    this.request({ publish: { channel: this.channel, data } });
  }

  /// A connection that ended, or was never there, and nobody wanted that.
  fail() {
    errors.add(true);
    dropped.add(1);
    this.leave();
  }

  /// Leaves for good.
  end() {
    this.isEnded = true;
    this.leave();
  }

  leave() {
    const socket = this.socket;
    this.socket = null;
    this.isSubscribed = false;
    if (socket) {
      socket.close();
    }
  }
}

/// A publication that says when it was made.
export function stamped(extra) {
  return Object.assign({ at: Date.now() }, extra);
}

/// Notes how long a stamped publication took.
export function noteDelivery(data) {
  if (data && data.at) {
    deliveryTime.add(Date.now() - data.at);
  }
}
