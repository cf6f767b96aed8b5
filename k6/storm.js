// A reconnect storm: in the middle of the hold all sockets end at once, and come back with their
// positions after a moment that is spread over STORM_SECONDS, as SDKs do it.

import { Trend } from 'k6/metrics';
import { stamped } from './lib/centrifuge.js';
import { afterRamp, clients, endAfterHold, options as of, settings } from './lib/fleet.js';

export { handleSummary } from './lib/fleet.js';
export const options = of({
  ringway_recovered: ['rate>0.99'],
  ringway_back_ms: ['p(99)<10000'],
});

const backTime = new Trend('ringway_back_ms', true);
const STORM_SECONDS = Number(__ENV.STORM_SECONDS || 2);

export default function () {
  const all = clients();
  // A position is worth something when there was a publication.
  afterRamp(1, () => all[0].publish(stamped()));
  afterRamp(settings.holdSeconds / 2, () => {
    const began = Date.now();
    all.forEach((client) => {
      client.leave();
      const moment = Math.random() * STORM_SECONDS * 1000;
      setTimeout(() => client.open(() => backTime.add(Date.now() - began)), moment);
    });
  });
  endAfterHold(all);
}
