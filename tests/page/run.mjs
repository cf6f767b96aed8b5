// Goal: the try-it page tells the truth while connections break: live messages and members, and
// after a reconnect every missed message once, in order.
// Method: the real binary, headless Chromium, two tabs as two users; the HTTP API publishes while
// one tab is offline and while the server throws both out. Run: node tests/page/run.mjs

import assert from 'node:assert/strict';
import { pause, Server, until } from '../support/server.mjs';
import { launch, Tab } from './browser.mjs';

const CHANNEL = 'story';
const MISSED = 25;

/** Whatever was sent to the channel so far, in the order of the server's answers. */
const sent = [];

async function say(tab, text) {
  await tab.publish(text);
  sent.push(text);
}

async function backendPublishes(server, prefix) {
  for (let number = 1; number <= MISSED; number += 1) {
    const text = `${prefix} ${number}`;
    await server.api('publish', { channel: CHANNEL, data: { text } });
    sent.push(text);
  }
}

async function sawExactly(tab, expected) {
  const enough = async () => (await tab.texts()).length >= expected.length;
  await until(`${tab.name} has ${expected.length} messages`, enough, 15_000);
  // A duplicate would come late.
  await pause(300);
  assert.deepEqual(await tab.texts(), expected, `${tab.name} saw another sequence`);
  const offsets = await tab.offsets();
  const wanted = offsets.map((_, index) => offsets[0] + index);
  assert.deepEqual(offsets, wanted, `${tab.name} saw offsets with a gap or twice`);
}

const steps = {
  async 'both tabs connect, and the token leaves the address bar'({ ann, bob }) {
    assert.equal(new URL(ann.page.url()).hash, '');
    const roundTrip = () => bob.page.locator('#round-trip').textContent();
    await until('a round trip is shown', async () => /\d ms/.test(await roundTrip()));
    assert.equal(await bob.page.locator('#transport').textContent(), 'websocket');
  },

  async 'members come and go live'({ ann, bob }) {
    await ann.join(CHANNEL);
    await until('ann sees herself', async () => (await ann.members()).join() === 'ann');
    await bob.join(CHANNEL);
    for (const tab of [ann, bob]) {
      await until(`${tab.name} sees both`, async () => (await tab.members()).join() === 'ann,bob');
    }
    await bob.page.getByLabel(`Leave ${CHANNEL}`).click();
    await until('ann sees bob leave', async () => (await ann.members()).join() === 'ann');
    await bob.join(CHANNEL);
    await until('ann sees bob again', async () => (await ann.members()).join() === 'ann,bob');
  },

  async 'messages arrive live and as text'({ ann, bob }) {
    await say(ann, 'hello from ann');
    await bob.waitForText(sent.at(-1));
    await say(bob, '<img src=x onerror="document.title=1"> & <b>bold</b>');
    await ann.waitForText(sent.at(-1));
    for (const tab of [ann, bob]) await sawExactly(tab, sent);
    assert.match(await ann.page.title(), /^Ringway/);
    assert.equal(await ann.page.locator('#messages img').count(), 0);
    assert.deepEqual(await bob.page.locator('.message-head b').allTextContents(), ['ann', 'You']);
  },

  async 'a tab that was offline recovers what it missed'({ ann, bob, server }) {
    await bob.page.click('#offline');
    await bob.waitForState('offline');
    await until('ann sees bob gone', async () => (await ann.members()).join() === 'ann');
    await backendPublishes(server, 'while bob was away');
    await sawExactly(ann, sent);
    await bob.page.click('#offline');
    await bob.waitForState('connected');
    await sawExactly(bob, sent);
    assert.match(await bob.notice(), new RegExp(`Recovered ${MISSED} messages`));
  },

  async 'tabs that the server threw out come back without a gap'({ ann, bob, server }) {
    const publishing = backendPublishes(server, 'while thrown out');
    for (const user of ['ann', 'bob', 'ann']) {
      await pause(20);
      await server.api('disconnect', { user, disconnect: { code: 3011, reason: 'test' } });
    }
    await publishing;
    for (const tab of [ann, bob]) {
      await tab.waitForState('connected');
      await sawExactly(tab, sent);
    }
  },

  async 'a tab whose network is cut recovers'({ ann, bob, context, server }) {
    await context.setOffline(true);
    await server.api('disconnect', { user: 'bob', disconnect: { code: 3011, reason: 'test' } });
    await bob.waitForState('connecting');
    await backendPublishes(server, 'while the network was cut');
    await context.setOffline(false);
    for (const tab of [ann, bob]) {
      await tab.waitForState('connected');
      await sawExactly(tab, sent);
    }
  },

  async 'history fills in what was said before a tab joined'({ context, server }) {
    const late = await Tab.open(context, server, 'late');
    await late.join(CHANNEL);
    assert.deepEqual(await late.texts(), []);
    await late.page.click('#history');
    await until('history is shown', async () => (await late.texts()).length === 50);
    assert.deepEqual(await late.texts(), sent.slice(-50));
    await late.page.close();
  },

  async 'calls answer, and unknown methods are named so'({ ann }) {
    await ann.page.fill('#rpc-method', 'ping');
    await ann.page.fill('#rpc-argument', '{"a": [1, 2]}');
    await ann.page.click('#rpc');
    const answer = ann.page.locator('#rpc-answer');
    await until('the answer', async () => /"a"/.test(await answer.textContent()));
    await ann.page.fill('#rpc-method', 'nosuch');
    await ann.page.click('#rpc');
    const isRefused = async () => /no such method \(104\)/.test(await answer.textContent());
    await until('the refusal', isRefused);
  },

  async 'a bad token is refused in words'({ context, server }) {
    const page = await context.newPage();
    await page.goto(`${server.origin}/#token=not.a.token`);
    await page.locator('.toast').getByText('does not accept this token (3500)').waitFor();
    await page.close();
  },

  async 'operators see what the node does, and ask nobody else'({ ann, context, server }) {
    const page = await context.newPage();
    const tab = new Tab(page, 'operator');
    const asked = new Set();
    page.on('request', (request) => asked.add(new URL(request.url()).origin));
    const origin = `http://${server.config.metrics.address}`;
    await page.goto(`${origin}/`);
    await tab.waitForState('connected');
    const value = (name) => page.locator(`#now dd[data-name="${name}"]`).textContent();
    assert.ok(Number(await value('connections')) >= 2, await value('connections'));
    assert.equal(await value('deliveries'), '–');
    // The second reading makes rates of what grew since the first.
    await say(ann, 'for the operator');
    await until('rates', async () => /^[\d.,]+\/s$/.test(await value('deliveries')));
    assert.match(await value('mean turn'), /^[\d.,]+ µs$/);
    const rows = (table) => page.locator(`#${table} tr`)
      .evaluateAll((all) => all.map((row) => row.dataset.name));
    for (const kind of ['slot', 'identity', 'subscriptions', 'receive_buffers', 'history',
      'not in the ledger', 'kernel, about: sockets']) {
      assert.ok((await rows('memory')).includes(kind), `${kind} in ${await rows('memory')}`);
    }
    assert.ok((await rows('closes')).includes('force_reconnect'), await rows('closes'));
    assert.match(await page.locator('#memory-sum').textContent(), /The process has [\d.]+ MiB/);
    const answer = await page.request.get(`${origin}/`);
    assert.match(answer.headers()['content-security-policy'], /^default-src 'none'/);
    assert.deepEqual([...asked], [origin]);
    assert.deepEqual(tab.problems, []);
    await page.close();
  },

  async 'nothing went wrong that the page did not expect'({ ann, bob }) {
    assert.deepEqual([...ann.problems, ...bob.problems], []);
  },

  async 'tabs come back to a server that was restarted, without a gap'({ ann, bob, server }) {
    await server.end();
    for (const tab of [ann, bob]) await tab.waitForState('connecting');
    await server.run();
    await backendPublishes(server, 'after the restart');
    for (const tab of [ann, bob]) {
      await tab.waitForState('connected');
      await sawExactly(tab, sent);
    }
  },
};

async function main() {
  const server = await Server.start('page.json');
  const browser = await launch();
  let failed = 0;
  try {
    const { context } = browser;
    const ann = await Tab.open(context, server, 'ann');
    const bob = await Tab.open(context, server, 'bob');
    for (const [name, step] of Object.entries(steps)) {
      const started = Date.now();
      await step({ ann, bob, context, server });
      console.log(`ok      ${name} (${Date.now() - started} ms)`);
    }
  } catch (error) {
    failed = 1;
    console.error(`FAILED  ${error.stack ?? error}\n--- server:\n${server.log}`);
  } finally {
    await browser.close();
    await server.stop();
  }
  console.log(failed ? 'The story broke off.' : `${Object.keys(steps).length} passed, 0 failed`);
  process.exitCode = failed;
}

await main();
