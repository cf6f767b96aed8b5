// A headless Chromium, and the try-it page in it as a person would use it.

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const CANDIDATES = [
  process.env.CHROMIUM_BIN, '/usr/bin/chromium', '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
];
const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];

/** A browser with a fresh profile. `close` ends it and removes the profile. */
export async function launch(options = {}) {
  const executablePath = CANDIDATES.find((path) => path && existsSync(path));
  if (!executablePath) {
    throw new Error('no Chromium: apt-get install chromium, or name one in CHROMIUM_BIN');
  }
  const profile = mkdtempSync(join(tmpdir(), 'ringway-page-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath, headless: true, args: FLAGS, ...options,
  });
  const close = async () => {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  };
  return { context, close };
}

/** One tab with the page. */
export class Tab {
  constructor(page, name) {
    this.page = page;
    this.name = name;
    this.problems = [];
    page.on('pageerror', (error) => this.problems.push(String(error)));
    page.on('console', (message) => {
      // A connection that was cut on purpose is reported by the browser as an error of the network.
      const isNetwork = /ERR_|WebSocket connection/.test(message.text());
      if (message.type() === 'error' && !isNetwork) this.problems.push(message.text());
    });
    page.setDefaultTimeout(10_000);
  }

  static async open(context, server, name) {
    const tab = new Tab(await context.newPage(), name);
    await tab.page.goto(`${server.origin}/#token=${server.token(name)}`);
    await tab.waitForState('connected');
    return tab;
  }

  waitForState(state) {
    return this.page.locator(`#state[data-state="${state}"]`).waitFor();
  }

  async join(channel) {
    await this.page.fill('#join-name', channel);
    await this.page.press('#join-name', 'Enter');
    await this.page.locator('#publish-text:enabled').waitFor();
  }

  async publish(text) {
    await this.page.fill('#publish-text', text);
    await this.page.press('#publish-text', 'Enter');
    await this.waitForText(text);
  }

  waitForText(text) {
    return this.page.locator('#messages .text').getByText(text, { exact: true }).first().waitFor();
  }

  texts() { return this.page.locator('#messages .text').allTextContents(); }

  offsets() {
    return this.page.locator('#messages .message')
      .evaluateAll((items) => items.map((item) => Number(item.dataset.offset)));
  }

  members() { return this.page.locator('#members .name').allTextContents(); }

  notice() { return this.page.locator('#recovery').textContent(); }
}
