// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { run, startService, until } from './helpers.mjs';

test('telemetry reports the sibling and itself', { timeout: 30_000 }, async (t) => {
  const sibling = await startService(t, 'market-data');
  const { url, lines } = await startService(t, 'telemetry', {
    SIBLINGS: `market-data=${sibling.url}`,
    SCRAPE_INTERVAL_MS: '100',
  });

  await until(`${url}/ready`, (response) => response.status === 200);
  const text = await (await fetch(`${url}/metrics`)).text();
  assert.match(text, /^noderr_build_info\{version="1.2.3",node_id="test-node",tier="oracle",service="telemetry"\} 1$/m);
  assert.match(text, /^noderr_service_up\{service="market-data"\} 1$/m);
  assert.match(text, /^process_cpu_seconds_total\{service="telemetry"\} /m);

  sibling.child.kill('SIGTERM');
  assert.equal((await sibling.closed).code, 0);
  await until(`${url}/metrics`, (_response, now) => now.includes('noderr_service_up{service="market-data"} 0'));
  // Still ready: telemetry has to answer most of all when something is down.
  assert.equal((await fetch(`${url}/ready`)).status, 200);
  const states = lines.map((line) => line.msg).filter((msg) => msg.startsWith('sibling'));
  assert.deepEqual(states, ['sibling is up', 'sibling is down']);
});

test('telemetry is not ready before the first scrape pass is done', { timeout: 30_000 }, async (t) => {
  const silent = createServer(() => {}).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (silent.address());
  /** @type {import('node:net').Socket[]} */
  const sockets = [];
  silent.on('connection', (socket) => sockets.push(socket));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    silent.close();
  });

  const { url } = await startService(t, 'telemetry', {
    SIBLINGS: `market-data=http://127.0.0.1:${port}`,
    SCRAPE_TIMEOUT_MS: '1500',
  });
  const response = await fetch(`${url}/ready`);
  assert.equal(response.status, 503);
  assert.deepEqual(await response.json(), { ready: false, reason: 'the first scrape pass is not done' });
  assert.equal((await fetch(`${url}/health`)).status, 200);
  await until(`${url}/ready`, (later) => later.status === 200);
  assert.match(await (await fetch(`${url}/metrics`)).text(), /^noderr_service_up\{service="market-data"\} 0$/m);
});

test('bin/health.mjs names the service that does not answer', { timeout: 30_000 }, async (t) => {
  const market = await startService(t, 'market-data');
  const telemetry = await startService(t, 'telemetry', { SIBLINGS: `market-data=${market.url}` });
  const env = { METRICS_PORT: String(telemetry.port), API_PORT: String(market.port) };

  assert.deepEqual(await run('bin/health.mjs', env).closed, { code: 0, signal: null, stderr: '' });
  market.child.kill('SIGSTOP'); // accepts connections but never answers
  const stuck = await run('bin/health.mjs', env).closed;
  assert.equal(stuck.code, 1);
  assert.match(stuck.stderr, /^unhealthy: market-data \(port \d+\): no answer within 3000 ms\n$/);
  market.child.kill('SIGKILL');
  await market.closed;
  const gone = await run('bin/health.mjs', env).closed;
  assert.equal(gone.code, 1);
  assert.match(gone.stderr, /^unhealthy: market-data \(port \d+\): ECONNREFUSED\n$/);
});
