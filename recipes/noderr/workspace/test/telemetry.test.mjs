// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { mergeMetrics } from '../services/telemetry/aggregate.mjs';
import { parseSiblings } from '../services/telemetry/siblings.mjs';
import { json, postObservation, startService, until } from './helpers.mjs';

test('telemetry reports the siblings, joins their metrics, and is the way to them', { timeout: 30_000 }, async (t) => {
  const sibling = await startService(t, 'market-data');
  const service = await startService(t, 'telemetry', {
    SIBLINGS: `market-data=${sibling.url}`,
    SCRAPE_INTERVAL_MS: '100',
    NODE_TIER: 'oracle',
  });
  const { url, lines } = service;
  const api = `http://127.0.0.1:${(await service.logged('listening', ({ server }) => server === 'api')).port}`;

  await until(`${url}/ready`, (response) => response.status === 200);
  await until(`${api}/ready`, (response) => response.status === 200);
  const text = await (await fetch(`${url}/metrics`)).text();
  assert.match(text, /^noderr_build_info\{version="1.2.3",node_id="test-node",tier="oracle",service="telemetry"\} 1$/m);
  assert.match(text, /^noderr_service_up\{service="market-data"\} 1$/m);
  assert.match(text, /^noderr_version_expected\{service="telemetry"\} 1$/m);
  for (const name of ['telemetry', 'market-data']) {
    assert.match(text, new RegExp(`^process_cpu_seconds_total\\{service="${name}"\\} `, 'm'));
  }
  assert.equal(text.match(/^# TYPE process_cpu_seconds_total /gm)?.length, 1);

  await t.test('the gateway', async () => {
    assert.deepEqual((await json(`${api}/v1`)).body, { services: ['market-data'] });
    assert.equal((await postObservation(`${api}/v1/market-data`.replace('/v1/market-data', ''))).status, 404);
    const { status, body } = await json(`${api}/v1/market-data/observations`, {
      symbol: 'ETH-USD', price: '3000.5', source: 'a', observedAt: new Date().toISOString(),
    });
    assert.deepEqual([status, body.status], [202, 'stored']);
    assert.equal((await json(`${api}/v1/market-data/prices/ETH-USD`)).body.price, '3000.5');
    assert.equal((await json(`${api}/v1/market-data/prices/NONE`)).body.message, 'unknown symbol');
    assert.equal((await json(`${api}/v1/other/prices/ETH-USD`)).status, 404);
    // What a sibling has outside of /v1/ stays inside.
    for (const path of ['..%2fmetrics', '%2e%2e/metrics', '..%2f..%2fmetrics', '%2e%2e%2fmetrics']) {
      assert.equal((await fetch(`${api}/v1/market-data/${path}`)).status, 404, path);
    }
    assert.equal((await fetch(`${api}/metrics`)).status, 404);
  });

  sibling.child.kill('SIGTERM');
  assert.equal((await sibling.closed).code, 0);
  await until(`${url}/metrics`, (_response, now) => now.includes('noderr_service_up{service="market-data"} 0'));
  // Still ready: telemetry has to answer most of all when something is down.
  assert.equal((await fetch(`${url}/ready`)).status, 200);
  assert.equal((await json(`${api}/v1/market-data/symbols`)).status, 502);
  const states = lines.map((line) => line.msg).filter((msg) => msg.startsWith('sibling'));
  assert.deepEqual(states, ['sibling is up', 'sibling is down']);
});

test('telemetry is not ready before the first look is done', { timeout: 30_000 }, async (t) => {
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
  assert.deepEqual(await response.json(), { ready: false, reason: 'the first look at the other services is not done' });
  assert.equal((await fetch(`${url}/health`)).status, 200);
  await until(`${url}/ready`, (later) => later.status === 200);
  assert.match(await (await fetch(`${url}/metrics`)).text(), /^noderr_service_up\{service="market-data"\} 0$/m);
});

test('metrics of one name stand below one head, whoever has them', () => {
  const one = '# HELP m Help.\n# TYPE m gauge\nm{service="a"} 1\n\n# TYPE only gauge\nonly 1\n';
  const two = '# HELP m Other words.\n# TYPE m gauge\nm{service="b"} 2\n';
  assert.equal(mergeMetrics([one, '', two]), [
    '# HELP m Help.', '# TYPE m gauge', 'm{service="a"} 1', 'm{service="b"} 2', '# TYPE only gauge', 'only 1', '',
  ].join('\n'));
});

test('SIBLINGS: a name alone is a service of this machine', () => {
  assert.deepEqual(parseSiblings('strategy, x=http://h:1'), [
    { name: 'strategy', url: 'http://127.0.0.1:4016/' }, { name: 'x', url: 'http://h:1/' },
  ]);
  assert.throws(() => parseSiblings('nonsense'), /no port is set for nonsense/);
  assert.throws(() => parseSiblings('x=ftp://h'), /entry x: must be an http/);
});
