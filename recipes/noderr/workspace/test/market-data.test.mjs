// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { verifyMessage, Wallet } from 'ethers';
import { canonicalMessage } from '../services/market-data/sign.mjs';
import { postObservation, startService } from './helpers.mjs';

const key = '2'.repeat(64);

test('market-data answers over HTTP', { timeout: 30_000 }, async (t) => {
  const service = await startService(t, 'market-data', { WALLET_PRIVATE_KEY: key, MAX_AGE_MS: '60000' });
  const { url } = service;
  const getJson = async (/** @type {string} */ path) => {
    const response = await fetch(url + path);
    return { status: response.status, body: /** @type {any} */ (await response.json()) };
  };

  await t.test('probes', async () => {
    const health = await getJson('/health');
    assert.equal(health.status, 200);
    assert.equal(health.body.status, 'ok');
    assert.equal(health.body.version, '1.2.3');
    assert.equal(health.body.nodeId, 'test-node');
    assert.deepEqual(await getJson('/ready'), { status: 200, body: { ready: true } });
  });

  await t.test('unknown symbol', async () => {
    const { status, body } = await getJson('/v1/prices/ETH-USD');
    assert.equal(status, 404);
    assert.equal(body.message, 'unknown symbol');
    assert.deepEqual((await getJson('/v1/symbols')).body, { symbols: [] });
  });

  await t.test('bad observations are refused', async () => {
    const cases = [
      [400, { price: 3000.5 }], // a number is a float, whatever the sender meant
      [400, { price: '1e3' }],
      [400, { price: '0.00' }],
      [400, { symbol: 'eth usd' }],
      [400, { source: 'venue\na' }],
      [400, { observedAt: 'yesterday' }],
      [400, { observedAt: undefined }],
      [400, { extra: 1 }],
      [422, { observedAt: new Date(Date.now() - 120_000).toISOString() }],
      [422, { observedAt: new Date(Date.now() + 120_000).toISOString() }],
    ];
    for (const [status, fields] of /** @type {[number, Record<string, unknown>][]} */ (cases)) {
      assert.equal((await postObservation(url, fields)).status, status, JSON.stringify(fields));
    }
    assert.deepEqual((await getJson('/v1/symbols')).body, { symbols: [] });
  });

  await t.test('median over the sources, signed', async () => {
    for (const [source, price] of [['a', '0.1'], ['b', '0.2'], ['c', '7'], ['d', '0.05']]) {
      assert.equal((await postObservation(url, { source, price })).status, 202);
    }
    const { status, body } = await getJson('/v1/prices/ETH-USD');
    assert.equal(status, 200);
    assert.equal(body.price, '0.15');
    assert.equal(body.count, 4);
    // Built from the fields, as a reader would, not taken from the answer.
    const message = canonicalMessage(body);
    assert.equal(body.signature.message, message);
    assert.equal(verifyMessage(message, body.signature.value), new Wallet(`0x${key}`).address);
    assert.deepEqual((await getJson('/v1/symbols')).body, { symbols: [{ symbol: 'ETH-USD', count: 4 }] });
    const { observations } = (await getJson('/v1/observations/ETH-USD')).body;
    assert.deepEqual(observations.find((/** @type {any} */ one) => one.source === 'c'), { source: 'c', price: '7' });
  });

  await t.test('an older observation does not replace a newer one', async () => {
    const observedAt = new Date(Date.now() - 30_000).toISOString();
    assert.equal((await postObservation(url, { source: 'a', observedAt })).status, 409);
  });

  await t.test('metrics', async () => {
    const text = await (await fetch(`${url}/metrics`)).text();
    assert.match(text, /^noderr_observations_total\{symbol="ETH-USD",source="a",service="market-data"\} 1$/m);
    assert.match(text, /^noderr_price_age_seconds\{symbol="ETH-USD",service="market-data"\} [0-9.]+$/m);
    assert.match(text, /^process_resident_memory_bytes\{service="market-data"\} /m);
  });

  await t.test('requests are logged, probes and the key are not', () => {
    const paths = service.lines.filter((line) => line.msg === 'request').map((line) => line.path);
    assert.ok(paths.includes('/v1/observations'));
    for (const probe of ['/health', '/ready', '/metrics']) assert.ok(!paths.includes(probe), probe);
    assert.ok(!JSON.stringify(service.lines).includes(key));
  });
});

test('without a key the answer is not signed; stale prices are not given', { timeout: 30_000 }, async (t) => {
  const { url } = await startService(t, 'market-data', { MAX_AGE_MS: '1500' });
  assert.equal((await postObservation(url)).status, 202);
  const first = await fetch(`${url}/v1/prices/ETH-USD`);
  assert.equal(/** @type {any} */ (await first.json()).signature, null);
  await new Promise((resolve) => setTimeout(resolve, 1600));
  const second = await fetch(`${url}/v1/prices/ETH-USD`);
  assert.equal(second.status, 503);
  assert.match(await second.text(), /no fresh observation/);
});
