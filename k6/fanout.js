// The sockets of connect.js, in rooms; each VU publishes into the rooms of its sockets in turn, and
// everybody notes how long a publication took from its publisher.

import exec from 'k6/execution';
import { stamped } from './lib/centrifuge.js';
import { afterRamp, clients, endAfterHold, options as of, settings } from './lib/fleet.js';

export { handleSummary } from './lib/fleet.js';
export const options = of({
  ringway_connect_ms: ['p(95)<1000'],
  ringway_delivery_ms: ['p(95)<250'],
  ringway_deliveries: ['count>0'],
});

export default function () {
  const all = clients();
  const period = settings.publishSeconds;
  // VUs do not publish all at once.
  const mine = (period * (exec.vu.idInTest % settings.vus)) / settings.vus;
  for (let turn = 0; turn * period + mine + 1 < settings.holdSeconds; turn += 1) {
    afterRamp(turn * period + mine, () => all[turn % all.length].publish(stamped()));
  }
  endAfterHold(all);
}
