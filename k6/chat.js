// A chat: messages, three times as many short-lived typing notices, reads of the history, and now and
// then somebody who goes and comes back with the position where they left.

import exec from 'k6/execution';
import { Rate, Trend } from 'k6/metrics';
import { noteDelivery, stamped } from './lib/centrifuge.js';
import { afterRamp, clients, endAfterHold, options as of, settings } from './lib/fleet.js';

export { handleSummary } from './lib/fleet.js';
export const options = of({
  ringway_delivery_ms: ['p(95)<250'],
  ringway_deliveries: ['count>0'],
  ringway_history_ms: ['p(95)<250'],
  ringway_history_errors: ['rate<0.01'],
  ringway_recovered: ['rate>0.99'],
});

const historyTime = new Trend('ringway_history_ms', true);
const historyErrors = new Rate('ringway_history_errors');
const TYPINGS = 3;
const AWAY_SECONDS = 0.5;

function readHistory(client) {
  const began = Date.now();
  const history = { channel: client.channel, limit: 20, reverse: true };
  client.request({ history }, (reply) => {
    historyTime.add(Date.now() - began);
    historyErrors.add(reply.error !== undefined);
  });
}

function comeBack(client) {
  client.leave();
  setTimeout(() => client.open(), AWAY_SECONDS * 1000);
}

export default function () {
  const all = clients((data) => noteDelivery(data && data.typing ? null : data));
  const period = settings.publishSeconds;
  const mine = (period * (exec.vu.idInTest % settings.vus)) / settings.vus;
  for (let turn = 0; (turn + 1) * period + mine + 1 < settings.holdSeconds; turn += 1) {
    const client = all[turn % all.length];
    const begin = turn * period + mine;
    for (let typing = 0; typing < TYPINGS; typing += 1) {
      afterRamp(begin + typing / TYPINGS, () => client.publish({ typing: true }));
    }
    afterRamp(begin + 1, () => client.publish(stamped({ text: 'good morning' })));
    afterRamp(begin + 1.5, () => readHistory(client));
    // Somebody who is not in the middle of a sentence.
    afterRamp(begin + 2, () => comeBack(all[(turn + 1) % all.length]));
  }
  endAfterHold(all);
}
