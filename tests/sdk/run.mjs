// Goal: the public JavaScript client library works unchanged, in both wire formats.
// Method: the real binary, `centrifuge` from npm over `ws`; each case opens clients of its own.
// Run: node tests/sdk/run.mjs   (ONLY=text runs the cases whose name has the text; TLS_OF_TESTS=1:
// over wss)

import { Centrifuge as JsonClient } from 'centrifuge';
import { Centrifuge as ProtobufClient } from 'centrifuge/build/protobuf';
import WebSocket from 'ws';
import { Server } from '../support/server.mjs';
import { runCases } from '../support/runner.mjs';
import { Clients } from './clients.mjs';
import * as connection from './connection.mjs';
import * as channels from './channels.mjs';
import * as recovery from './recovery.mjs';

const formats = { json: JsonClient, protobuf: ProtobufClient };
const groups = { connection, channels, recovery };

const server = await Server.start('sdk.json');
const total = { passed: 0, failed: 0 };
for (const [format, Client] of Object.entries(formats)) {
  for (const [group, { cases }] of Object.entries(groups)) {
    const makeClients = () => new Clients(server, Client, format, server.trusting(WebSocket));
    const counts = await runCases(`${format} ${group}`, cases, makeClients);
    total.passed += counts.passed;
    total.failed += counts.failed;
  }
}
if (total.failed) console.log(`--- server:\n${server.log}`);
await server.stop();
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exit(total.failed ? 1 : 0);
