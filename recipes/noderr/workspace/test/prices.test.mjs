// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { verifyMessage, Wallet } from 'ethers';
import { Registry } from 'prom-client';
import { lines, sign } from '@noderr/runtime/wallet.mjs';
import { formatPrice, median, parsePrice, PRICE_PATTERN } from '../services/market-data/decimal.mjs';
import { createMetrics, MAX_COUNTED_PAIRS } from '../services/market-data/metrics.mjs';
import { canonicalMessage } from '../services/market-data/sign.mjs';
import { MAX_AHEAD_MS, PriceWindow } from '../services/market-data/window.mjs';

/** @param {string[]} texts */
const medianText = (texts) => formatPrice(median(texts.map(parsePrice)));

test('prices keep all 18 decimals and have one spelling', () => {
  for (const text of ['0.1', '3000.5', '0.000000000000000001', '999999999999999999.999999999999999999']) {
    assert.equal(formatPrice(parsePrice(text)), text);
  }
  assert.equal(formatPrice(parsePrice('3000.500')), '3000.5');
  assert.equal(formatPrice(parsePrice('3000.0')), '3000');
  assert.equal(formatPrice(parsePrice('10')), '10');
});

test('the pattern refuses what is not a plain decimal', () => {
  const pattern = new RegExp(PRICE_PATTERN, 'u');
  for (const text of ['', '-1', '+1', '1e3', '.5', '1.', '01', '1,5', '0x1', ' 1', '1\n', 'NaN', '0.1234567890123456789']) {
    assert.ok(!pattern.test(text), JSON.stringify(text));
  }
});

test('median of odd and even counts', () => {
  assert.equal(medianText(['7']), '7');
  assert.equal(medianText(['10', '9', '100']), '10'); // by value, not by text
  assert.equal(medianText(['0.1', '0.2']), '0.15'); // 0.15000000000000002 in floats
  assert.equal(medianText(['4', '1', '3', '2']), '2.5');
  assert.equal(medianText(['0.000000000000000001', '0.000000000000000002']), '0.000000000000000001');
  assert.throws(() => median([]), RangeError);
});

test('the window keeps the latest observation per source and ages it', () => {
  let now = 1_000_000;
  const window = new PriceWindow({ maxAgeMs: 1000, maxSymbols: 10, maxSources: 10, now: () => now });
  const add = (/** @type {string} */ source, /** @type {bigint} */ price, observedAt = now) =>
    window.add({ symbol: 'A-B', source, price, observedAt });

  assert.equal(window.freshPrices('A-B'), undefined);
  assert.equal(add('x', 1n), 'stored');
  assert.equal(add('x', 2n), 'stored');
  assert.equal(add('x', 3n, now - 1), 'older');
  assert.equal(add('y', 4n, now - 500), 'stored');
  assert.equal(add('y', 5n, now - 1001), 'stale');
  assert.equal(add('y', 5n, now + MAX_AHEAD_MS + 1), 'future');
  assert.deepEqual(window.freshPrices('A-B'), [2n, 4n]);
  now += 501;
  assert.deepEqual(window.freshPrices('A-B'), [2n]);
  now += 500;
  assert.deepEqual(window.freshPrices('A-B'), []);
});

test('the window is bounded and gives the place of stale data away', () => {
  let now = 1_000_000;
  const window = new PriceWindow({ maxAgeMs: 1000, maxSymbols: 2, maxSources: 2, now: () => now });
  const add = (/** @type {string} */ symbol, /** @type {string} */ source) =>
    window.add({ symbol, source, price: 1n, observedAt: now });

  assert.deepEqual(['a', 'b', 'c'].map((source) => add('S1', source)), ['stored', 'stored', 'full']);
  assert.deepEqual(['S2', 'S3'].map((symbol) => add(symbol, 'a')), ['stored', 'full']);
  now += 1001;
  assert.equal(add('S1', 'c'), 'stored');
  assert.deepEqual(window.freshPrices('S1'), [1n]);
  assert.equal(add('S3', 'a'), 'stored');
  assert.deepEqual(window.symbols(), ['S1', 'S3']);
});

test('the number of counter labels is bounded', async () => {
  const registry = new Registry();
  const window = new PriceWindow({ maxAgeMs: 1000, maxSymbols: 1, maxSources: 1 });
  const { countObservation } = createMetrics(registry, window);
  for (let i = 0; i < MAX_COUNTED_PAIRS + 5; i += 1) countObservation('A-B', `s${i}`);
  countObservation('A-B', 's0');
  const text = await registry.metrics();
  assert.equal(text.match(/^noderr_observations_total\{/gm)?.length, MAX_COUNTED_PAIRS + 1);
  assert.match(text, /^noderr_observations_total\{symbol="other",source="other"\} 5$/m);
  assert.match(text, /^noderr_observations_total\{symbol="A-B",source="s0"\} 2$/m);
});

test('the signature is over the documented message', async () => {
  const wallet = new Wallet(`0x${'1'.repeat(64)}`);
  const quote = { nodeId: 'n1', symbol: 'A-B', price: '1.5', count: 3, asOf: '2026-01-02T03:04:05.006Z' };
  const message = 'noderr-price-v1\nnode:n1\nsymbol:A-B\nprice:1.5\ncount:3\nasOf:2026-01-02T03:04:05.006Z';
  assert.equal(canonicalMessage(quote), message);
  const signature = await sign(wallet, canonicalMessage(quote));
  assert.ok(signature);
  assert.equal(verifyMessage(message, signature.value), wallet.address);
  assert.equal(signature.signer, wallet.address);
  assert.notEqual(verifyMessage(message.replace('1.5', '1.6'), signature.value), wallet.address);
});

test('no field of a signed message can bring a line of its own', async () => {
  assert.throws(() => lines('noderr-price-v1', { node: 'n1\nprice:9' }), /line feed/);
  assert.equal(await sign(undefined, 'anything'), null);
});
