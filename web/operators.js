// The operators' page: what /metrics of this node says, every two seconds.

'use strict';

const INTERVAL_MS = 2000;

/** Every sample of a text in the format of OpenMetrics: name, labels, value. */
function samplesOf(text) {
  const samples = [];
  for (const line of text.split('\n')) {
    const match = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!match) continue;
    const labels = {};
    for (const [, name, value] of (match[2] ?? '').matchAll(/([a-z_]+)="([^"]*)"/g)) {
      labels[name] = value;
    }
    samples.push({ name: match[1], labels, value: Number(match[3]) });
  }
  return samples;
}

/** The sum of a metric over its labels. */
function sum(samples, name) {
  const values = samples.filter((one) => one.name === `ringway_${name}`);
  return values.reduce((all, one) => all + one.value, 0);
}

/** Sums of a metric by one of its labels. */
function sumsBy(samples, name, label) {
  const sums = new Map();
  for (const one of samples) {
    if (one.name !== `ringway_${name}`) continue;
    sums.set(one.labels[label], (sums.get(one.labels[label]) ?? 0) + one.value);
  }
  return sums;
}

function number(value) {
  return value.toLocaleString('en', { maximumFractionDigits: value < 10 ? 1 : 0 });
}

function bytes(value) {
  if (value < 1024) return `${number(value)} B`;
  if (value < 1024 * 1024) return `${number(value / 1024)} KiB`;
  return `${number(value / 1024 / 1024)} MiB`;
}

/** How fast a counter grew since the samples before; nothing at first, or after a restart. */
function rate(now, before, seconds, name, write = number) {
  if (!before) return '–';
  const grown = sum(now, name) - sum(before, name);
  return grown < 0 || seconds <= 0 ? '–' : `${write(grown / seconds)}/s`;
}

/** The mean turn since the samples before. */
function turn(now, before) {
  const of = (samples, part) => (samples ? sum(samples, `turn_seconds_${part}`) : 0);
  const count = of(now, 'count') - of(before, 'count');
  if (count <= 0) return '–';
  return `${number(((of(now, 'sum') - of(before, 'sum')) / count) * 1e6)} µs`;
}

/** Fills a list of terms, made once for each name. */
function tile(list, name, value) {
  let place = list.querySelector(`dd[data-name="${name}"]`);
  if (!place) {
    const box = document.createElement('div');
    const term = document.createElement('dt');
    term.textContent = name;
    place = document.createElement('dd');
    place.dataset.name = name;
    box.append(term, place);
    list.append(box);
  }
  place.textContent = value;
}

/** Rows of name, size and bar, the largest first. */
function bars(table, values, write) {
  const rows = [...values].filter(([, value]) => value > 0).sort((a, b) => b[1] - a[1]);
  const most = Math.max(1, ...rows.map(([, value]) => value));
  table.tBodies[0].replaceChildren(...rows.map(([name, value]) => {
    const row = document.createElement('tr');
    row.dataset.name = name;
    const head = document.createElement('th');
    head.scope = 'row';
    head.textContent = name;
    const size = document.createElement('td');
    size.className = 'size';
    size.textContent = write(value);
    const bar = document.createElement('td');
    const meter = document.createElement('meter');
    meter.max = most;
    meter.value = value;
    meter.textContent = size.textContent;
    bar.append(meter);
    row.append(head, size, bar);
    return row;
  }));
  return rows.length;
}

function show(now, before, seconds) {
  const list = document.querySelector('#now');
  tile(list, 'connections', number(sum(now, 'connections')));
  tile(list, 'sessions', number(sum(now, 'sessions')));
  tile(list, 'subscriptions', number(sum(now, 'subscriptions')));
  tile(list, 'messages in', rate(now, before, seconds, 'messages_received_total'));
  tile(list, 'deliveries', rate(now, before, seconds, 'deliveries_total'));
  tile(list, 'bytes in', rate(now, before, seconds, 'bytes_received_total', bytes));
  tile(list, 'bytes out', rate(now, before, seconds, 'bytes_sent_total', bytes));
  tile(list, 'mean turn', turn(now, before));

  const memory = sumsBy(now, 'memory_bytes', 'kind');
  const known = [...memory.values()].reduce((all, one) => all + one, 0);
  const pss = sum(now, 'process_pss_bytes');
  memory.set('not in the ledger', Math.max(0, pss - known));
  for (const [kind, value] of sumsBy(now, 'kernel_memory_bytes_estimated', 'kind')) {
    // Nobody tells buffers by process.
    const whose = kind === 'buffers' ? 'buffers of all TCP here' : kind;
    memory.set(`kernel, about: ${whose}`, value);
  }
  bars(document.querySelector('#memory'), memory, bytes);
  document.querySelector('#memory-sum').textContent =
    `The process has ${bytes(pss)}, of which the ledger knows ${bytes(known)}.`;

  const closes = sumsBy(now, 'closes_total', 'reason');
  const count = bars(document.querySelector('#closes'), closes, number);
  document.querySelector('#closes-none').hidden = count > 0;
}

function tell(state, text) {
  const place = document.querySelector('#state');
  place.dataset.state = state;
  place.textContent = text;
}

async function run() {
  let before = null;
  let beforeAt = 0;
  for (;;) {
    try {
      const answer = await fetch('metrics', { cache: 'no-store' });
      if (!answer.ok) throw new Error(`/metrics answered ${answer.status}`);
      const now = samplesOf(await answer.text());
      const nowAt = performance.now();
      show(now, before, (nowAt - beforeAt) / 1000);
      tell('connected', 'live');
      [before, beforeAt] = [now, nowAt];
    } catch (error) {
      before = null;
      tell('offline', `not answering: ${error.message}`);
    }
    await new Promise((done) => { setTimeout(done, INTERVAL_MS); });
  }
}

run();
