// Runs named cases one after the other and says how each ended.

const CASE_MS_MAX = 20_000;

/** `cases` maps names to functions of clients, which each case gets anew. Counts how they ended. */
export async function runCases(group, cases, makeClients) {
  const only = process.env.ONLY;
  const counts = { passed: 0, failed: 0 };
  for (const [name, body] of Object.entries(cases)) {
    if (only && !name.includes(only)) continue;
    const started = Date.now();
    const clients = makeClients();
    try {
      await within(CASE_MS_MAX, body(clients));
      counts.passed += 1;
      console.log(`ok      ${group}: ${name} (${Date.now() - started} ms)`);
    } catch (error) {
      counts.failed += 1;
      console.log(`FAILED  ${group}: ${name}\n${indented(error.stack ?? JSON.stringify(error))}`);
    } finally {
      clients.close();
    }
  }
  return counts;
}

function within(ms, promise) {
  let timer;
  const limit = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`not done after ${ms} ms`)), ms);
  });
  return Promise.race([promise, limit]).finally(() => clearTimeout(timer));
}

const indented = (text) => text.split('\n').map((line) => `        ${line}`).join('\n');
