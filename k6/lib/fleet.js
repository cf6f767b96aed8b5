// What all scripts share: settings by environment, VUs that hold many sockets, and the summary.

import exec from 'k6/execution';
import { Client, noteDelivery, token } from './centrifuge.js';

const number = (name, otherwise) => Number(__ENV[name] || otherwise);

export const settings = {
  url: __ENV.RINGWAY_URL || 'ws://127.0.0.1:8000/connection/websocket',
  secret: __ENV.RINGWAY_SECRET || '',
  // Of all processes together.
  vus: number('VUS', 10),
  // Sockets of each VU.
  sockets: number('SOCKETS', 100),
  // Members of a room.
  members: number('MEMBERS', 100),
  rampSeconds: number('RAMP_SECONDS', 10),
  holdSeconds: number('HOLD_SECONDS', 30),
  // Seconds between two publications of one VU.
  publishSeconds: number('PUBLISH_SECONDS', 10),
  namespace: __ENV.NAMESPACE || 'room',
};

/// Options of a scenario in which each VU does its work once, and thresholds. With UNTIMED those of
/// time are left out: on a machine that does other work they say nothing of the server.
export function options(wanted) {
  const kept = Object.entries(wanted).filter(([name]) => !(__ENV.UNTIMED && name.endsWith('_ms')));
  const thresholds = Object.fromEntries(kept);
  const seconds = settings.rampSeconds + settings.holdSeconds;
  return {
    scenarios: {
      fleet: {
        executor: 'per-vu-iterations',
        vus: settings.vus,
        iterations: 1,
        maxDuration: `${seconds + 120}s`,
        gracefulStop: '5s',
      },
    },
    thresholds: Object.assign({ ringway_errors: ['rate<0.01'] }, thresholds),
    summaryTrendStats: ['min', 'med', 'avg', 'p(95)', 'p(99)', 'max', 'count'],
  };
}

/// The clients of this VU, each of which opens at its moment of the ramp.
export function clients(onPublication, whenSubscribed) {
  const { sockets, vus, members, rampSeconds } = settings;
  const vu = exec.vu.idInTest - 1;
  const all = [];
  for (let at = 0; at < sockets; at += 1) {
    // Neighbours in a room are of different VUs: a publication crosses all of them.
    const index = at * vus + vu;
    const room = `${settings.namespace}:${Math.floor(index / members)}`;
    const mine = settings.secret && token(settings.secret, `user-${index}`, 3600);
    const client = new Client(settings.url, mine, room, onPublication || noteDelivery);
    all.push(client);
    const moment = ((at + vu / vus) / sockets) * rampSeconds * 1000;
    setTimeout(() => client.open(whenSubscribed), moment);
  }
  return all;
}

/// Ends everything when the ramp and the hold are over.
export function endAfterHold(all) {
  afterRamp(settings.holdSeconds, () => all.forEach((client) => client.end()));
}

/// Until all VUs are done with the ramp, nothing that was published is a measurement.
export function afterRamp(seconds, act) {
  setTimeout(act, (settings.rampSeconds + seconds) * 1000);
}

/// The summary as JSON, into a file if SUMMARY names one.
export function handleSummary(data) {
  const values = {};
  for (const [name, metric] of Object.entries(data.metrics)) {
    if (name.startsWith('ringway_')) {
      values[name] = metric.values;
    }
  }
  const text = `${JSON.stringify(values, null, 2)}\n`;
  return __ENV.SUMMARY ? { [__ENV.SUMMARY]: text } : { stdout: text };
}
