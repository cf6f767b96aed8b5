// Runs named cases one after the other and says how each ended.

const CASE_MS_MAX = 20_000;

/** `cases` maps names to functions of `argument`. Returns how many passed and failed. */
export async function runCases(group, cases, argument) {
  const only = process.env.ONLY;
  const counts = { passed: 0, failed: 0 };
  for (const [name, body] of Object.entries(cases)) {
    if (only && !name.includes(only)) continue;
    const started = Date.now();
    try {
      await within(CASE_MS_MAX, body(argument));
      counts.passed += 1;
      console.log(`ok      ${group}: ${name} (${Date.now() - started} ms)`);
    } catch (error) {
      counts.failed += 1;
      console.log(`FAILED  ${group}: ${name}\n${indented(error.stack ?? JSON.stringify(error))}`);
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
