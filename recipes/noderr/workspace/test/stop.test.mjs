// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { connect } from 'node:net';
import { test } from 'node:test';
import { startService } from './helpers.mjs';

const observation = JSON.stringify({
  symbol: 'ETH-USD',
  price: '1',
  source: 'venue-a',
  observedAt: new Date().toISOString(),
});

/**
 * A request the service has begun to handle but whose body is still missing:
 * the answer "100 Continue" proves that its head has arrived.
 *
 * @param {number} port
 */
async function beginPost(port) {
  const post = request({
    port,
    host: '127.0.0.1',
    method: 'POST',
    path: '/v1/observations',
    agent: new Agent({ keepAlive: true }),
    headers: {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(observation),
      expect: '100-continue',
    },
  });
  post.flushHeaders();
  await once(post, 'continue');
  return post;
}

for (const signal of /** @type {NodeJS.Signals[]} */ (['SIGTERM', 'SIGINT'])) {
  test(`${signal}: the request in flight is answered, new ones are refused, exit 0`, { timeout: 30_000 }, async (t) => {
    const service = await startService(t, 'market-data');
    const post = await beginPost(service.port);
    service.child.kill(signal);
    await service.logged('stopping');
    await assert.rejects(fetch(`${service.url}/health`));

    post.end(observation);
    const [response] = await once(post, 'response');
    response.resume();
    assert.equal(response.statusCode, 202);
    assert.equal(response.headers.connection, 'close');
    const started = Date.now();
    assert.equal((await service.closed).code, 0);
    assert.ok(Date.now() - started < 3_000, 'a kept-alive connection does not delay the end');
    assert.ok(service.lines.some((line) => line.msg === 'stopped'));
  });
}

test('a connection that never sent a request does not delay the stop', { timeout: 30_000 }, async (t) => {
  const service = await startService(t, 'telemetry');
  await service.logged('listening', ({ server }) => server === 'api');
  const socket = connect(service.port, '127.0.0.1');
  socket.on('error', () => {});
  t.after(() => socket.destroy());
  await once(socket, 'connect');
  await fetch(`${service.url}/health`); // by now the service has accepted both
  service.child.kill('SIGTERM');
  const started = Date.now();
  assert.equal((await service.closed).code, 0);
  assert.ok(Date.now() - started < 3_000);
});

test('exit 1 when a request does not end within STOP_TIMEOUT_MS', { timeout: 30_000 }, async (t) => {
  const service = await startService(t, 'market-data', { STOP_TIMEOUT_MS: '300' });
  const post = await beginPost(service.port);
  post.on('error', () => {}); // the process ends under it
  service.child.kill('SIGTERM');
  assert.equal((await service.closed).code, 1);
  assert.ok(service.lines.some((line) => line.msg === 'stop took too long'));
});

test('exit 1 with a log line when the port is taken', { timeout: 30_000 }, async (t) => {
  const { port } = await startService(t, 'market-data');
  await assert.rejects(startService(t, 'market-data', { MARKET_DATA_PORT: String(port) }), /ended with 1/);
});
