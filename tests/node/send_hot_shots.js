// Calls every method of hot-shots that sends, to the port given, and prints how many packets that made.

const StatsD = require('hot-shots');

const client = new StatsD({
  host: '127.0.0.1',
  port: Number(process.argv[2]),
  prefix: 'node.',
  globalTags: { env: 'test' },
  errorHandler(error) {
    console.error(error);
    process.exitCode = 1;
  },
});

const calls = [
  ['increment', 'page.views'],
  ['increment', 'page.views', 5],
  ['decrement', 'page.views', 2],
  ['increment', 'page.views', 3, { route: '/a', method: 'GET' }],
  ['gauge', 'queue.depth', 10],
  ['gaugeDelta', 'queue.depth', 2],
  ['timing', 'db.query', 123],
  ['timing', 'db.query', 7],
  ['histogram', 'payload', 10],
  ['histogram', 'payload', 30],
  ['distribution', 'latency', 0.5],
  ['set', 'users', 'alice'],
  ['set', 'users', 'bob'],
  ['unique', 'users', 'alice'],
  ['event', 'Deployed', 'line one\nline two', { alert_type: 'info' }],
  ['check', 'db.up', client.CHECKS.WARNING, { message: 'slow\nto answer' }],
];

for (const [method, ...args] of calls) client[method](...args);
client.close(() => console.log(calls.length));
