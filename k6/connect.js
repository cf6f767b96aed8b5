// Many sockets are opened at a steady rate and held; each subscribes to its room and answers pings.
//
//   k6 run -e RINGWAY_URL=ws://127.0.0.1:8000/connection/websocket k6/connect.js

import { clients, endAfterHold, options as of } from './lib/fleet.js';

export { handleSummary } from './lib/fleet.js';
export const options = of({ ringway_connect_ms: ['p(95)<1000'], ringway_connected: ['count>0'] });

export default function () {
  endAfterHold(clients());
}
