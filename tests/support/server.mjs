// Starts the real binary on free loopback ports, and calls its HTTP API.
//
// The binary is named by RINGWAY_BIN (default: target/release/ringway of this checkout). A test
// names a configuration in tests/configs/; only the ports are put in here, so that tests can run
// side by side. DRIVER_OF_TESTS names what drives its sockets, as --io takes it (default: what the
// server chooses). With TLS_OF_TESTS=1 the server speaks TLS, with a certificate of its own.

import { execFileSync, spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import * as http from 'node:http';
import * as https from 'node:https';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = resolve(fileURLToPath(import.meta.url), '../../..');
const START_MS_MAX = 10_000;
const STOP_MS_MAX = 10_000;
const LOG_BYTES_MAX = 64 * 1024;

export const binary = process.env.RINGWAY_BIN
  ? resolve(process.env.RINGWAY_BIN)
  : join(ROOT, 'target/release/ringway');

const driver = process.env.DRIVER_OF_TESTS ? ['--io', process.env.DRIVER_OF_TESTS] : [];

const speaksTls = process.env.TLS_OF_TESTS === '1';

export class Server {
  /** `changes` are merged over the configuration file, section by section. */
  static async start(configName, changes = {}) {
    const file = readFileSync(join(ROOT, 'tests/configs', configName), 'utf8');
    const config = merge(JSON.parse(file), changes);
    const [port, metricsPort] = [await freePort(), await freePort()];
    config.http_server = { ...config.http_server, address: '127.0.0.1', port };
    config.metrics = { address: `127.0.0.1:${metricsPort}` };
    const server = new Server();
    server.config = config;
    server.port = port;
    server.folder = mkdtempSync(join(tmpdir(), 'ringway-test-'));
    if (speaksTls) {
      server.certificate = makeCertificate(server.folder);
      config.http_server.tls = { enabled: true, cert_pem: 'chain.pem', key_pem: 'key.pem' };
    }
    writeFileSync(join(server.folder, 'config.json'), JSON.stringify(config, null, 2));
    await server.run();
    return server;
  }

  async run() {
    const configPath = join(this.folder, 'config.json');
    const line = ['serve', '--config', configPath, '--allow-unsupported', ...driver];
    this.log = '';
    // The server reads RINGWAY_… itself, and refuses names it does not know.
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('RINGWAY_'));
    this.child = spawn(binary, line, {
      cwd: this.folder, env: Object.fromEntries(inherited), stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.ended = new Promise((done) => this.child.once('exit', done));
    this.child.once('error', (error) => { this.log += `${error}\n`; });
    const keep = (chunk) => { this.log = (this.log + chunk).slice(-LOG_BYTES_MAX); };
    this.child.stdout.on('data', keep);
    this.child.stderr.on('data', keep);
    const giveUp = Date.now() + START_MS_MAX;
    while (!(await this.isHealthy())) {
      if (this.child.exitCode !== null || this.child.pid === undefined || Date.now() > giveUp) {
        throw new Error(`${binary} did not start:\n${this.log}`);
      }
      await pause(50);
    }
  }

  get origin() { return `http${speaksTls ? 's' : ''}://127.0.0.1:${this.port}`; }
  get websocket() {
    return `ws${speaksTls ? 's' : ''}://127.0.0.1:${this.port}/connection/websocket`;
  }

  /** `WebSocket` of ws, trusting this server's certificate and nobody else's. */
  trusting(WebSocket) {
    const ca = this.certificate;
    if (!ca) return WebSocket;
    return class extends WebSocket {
      constructor(url, protocols, options) { super(url, protocols, { ...options, ca }); }
    };
  }

  /** Status and text of an answer. */
  ask(path, { method = 'GET', headers = {}, body } = {}) {
    return new Promise((done, fail) => {
      const module = speaksTls ? https : http;
      const options = { method, headers, ca: this.certificate, agent: false };
      const request = module.request(`${this.origin}${path}`, options, (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (part) => { text += part; });
        response.on('end', () => done({ status: response.statusCode, text }));
      });
      request.once('error', fail);
      request.end(body);
    });
  }

  async isHealthy() {
    try {
      return (await this.ask('/health')).status === 200;
    } catch {
      return false;
    }
  }

  /** Calls the API and returns `result`; an answer with `error` is thrown. */
  async api(method, body) {
    const { text } = await this.ask(`/api/${method}`, {
      method: 'POST',
      headers: { 'X-API-Key': this.config.http_api.key, 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    });
    const answer = JSON.parse(text);
    if (answer.error) {
      throw Object.assign(new Error(answer.error.message), { code: answer.error.code });
    }
    return answer.result;
  }

  /** A connection token; `claims` may add to it or change it. */
  token(user, claims = {}) {
    return mint(this.config.client.token.hmac_secret_key, { sub: user, ...claims });
  }

  /** Ends the process; what it keeps on disk stays. */
  async end() {
    this.child.kill('SIGTERM');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), STOP_MS_MAX);
    await this.ended;
    clearTimeout(timer);
  }

  async stop() {
    await this.end();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A JSON Web Token signed with HMAC and SHA-256 (RFC 7515, 3). */
export function mint(secret, claims, header = { alg: 'HS256', typ: 'JWT' }) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${part(header)}.${part(claims)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

export const inSeconds = (seconds) => Math.floor(Date.now() / 1000) + seconds;

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** Waits until `check` returns something true, and returns it. */
export async function until(what, check, ms = 5000) {
  const giveUp = Date.now() + ms;
  for (;;) {
    const found = await check();
    if (found) return found;
    if (Date.now() > giveUp) throw new Error(`waited ${ms} ms in vain: ${what}`);
    await pause(10);
  }
}

/** A certificate for 127.0.0.1 and its key, as files of the folder. */
function makeCertificate(folder) {
  execFileSync('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
    '-days', '10', '-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1',
    '-keyout', join(folder, 'key.pem'), '-out', join(folder, 'chain.pem'),
  ], { stdio: 'ignore' });
  return readFileSync(join(folder, 'chain.pem'), 'utf8');
}

function merge(base, changes) {
  const merged = { ...base };
  for (const [name, value] of Object.entries(changes)) {
    const isSection = value !== null && typeof value === 'object' && !Array.isArray(value);
    merged[name] = isSection ? merge(base[name] ?? {}, value) : value;
  }
  return merged;
}

const portsGiven = new Set();

/** A port that nobody listens on, that was not given before, and that the kernel gives to no client
 *  by chance: it takes theirs from above. */
async function freePort() {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 22_000);
    if (!portsGiven.has(port) && await isFree(port)) {
      portsGiven.add(port);
      return port;
    }
  }
}

function isFree(port) {
  return new Promise((done) => {
    const probe = createServer();
    probe.once('error', () => done(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => done(true)));
  });
}
