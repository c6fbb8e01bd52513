// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { allocate, MAX_SHARE } from '../services/capital-ai/allocate.mjs';
import { parseCsv } from '../services/data-connectors/csv.mjs';
import { parseSources } from '../services/data-connectors/sources.mjs';
import { venues } from '../services/exchange-connectors/venues.mjs';
import { judge, regime } from '../services/market-intelligence/signal.mjs';
import { correlation, statistics } from '../services/quant-research/statistics.mjs';
import { decide } from '../services/strategy/decide.mjs';
import { json, python, run, startService, startServices, startStub, until } from './helpers.mjs';

const services = fileURLToPath(new URL('../services/', import.meta.url));

/** @param {import('node:test').TestContext} t */
function scratch(t) {
  const place = mkdtempSync(join(tmpdir(), 'noderr-test-'));
  t.after(() => rmSync(place, { recursive: true }));
  return place;
}

test('the services of the oracle work on each other\'s results', { timeout: 60_000 }, async (t) => {
  const fast = {
    EXCHANGE_INTERVAL_MS: '20', SAMPLE_INTERVAL_MS: '100', SIGNAL_INTERVAL_MS: '100', DECISION_INTERVAL_MS: '100',
    CAPITAL: '1000000',
  };
  const node = await startServices(t, [
    'market-data', 'exchange-connectors', 'quant-research', 'ml-inference', 'market-intelligence', 'strategy', 'capital-ai',
  ], fast);
  for (const { url } of Object.values(node)) await until(`${url}/ready`, (response) => response.status === 200);
  await until(`${node.strategy.url}/v1/decisions`, (_response, text) =>
    ['BTC-USD', 'ETH-USD'].every((symbol) => text.includes(symbol)));

  const signal = (await json(`${node['market-intelligence'].url}/v1/signals/ETH-USD`)).body;
  assert.ok(signal.probabilityUp > 0 && signal.probabilityUp < 1, JSON.stringify(signal));
  assert.ok(signal.volatility > 0 && signal.dispersion < 0.01);
  const { body } = await json(`${node['capital-ai'].url}/v1/allocation`);
  const amounts = body.positions.map((/** @type {any} */ { amount }) => BigInt(amount));
  assert.equal(amounts.reduce((/** @type {bigint} */ a, /** @type {bigint} */ b) => a + b, BigInt(body.reserve)), 1_000_000n);

  for (const { url, name } of Object.values(node)) {
    const text = await (await fetch(`${url}/metrics`)).text();
    assert.match(text, new RegExp(`^process_resident_memory_bytes\\{service="${name}"\\} \\d`, 'm'), name);
  }
  for (const { child, closed, name } of Object.values(node).reverse()) {
    child.kill('SIGTERM');
    assert.equal((await closed).code, 0, name);
  }
});

test('exchange-connectors: three ways to say one price', async (t) => {
  const at = Date.UTC(2026, 0, 2, 3, 4, 5, 6);
  const tick = { symbol: 'ETH-USD', price: '3000.5', observedAt: at };
  assert.deepEqual(venues.atlas({ type: 'ticker', product_id: 'ETH-USD', price: '3000.50', time: new Date(at).toISOString() }), tick);
  assert.deepEqual(venues.boreal({ e: 'trade', s: 'ETHUSD', p: '03000.50000000', T: at }), tick);
  assert.deepEqual(venues.cobalt([42, [['1', '2', '3'], ['3000.5', '1', `${at / 1000}`]], 'trade', 'ETH/USD']), tick);
  assert.equal(venues.atlas({ type: 'heartbeat' }), undefined);
  assert.equal(venues.cobalt({ event: 'status' }), undefined);
  assert.throws(() => venues.boreal({ e: 'trade', s: 'ETHUSD', p: 3000.5, T: at }), /no price/);
  assert.throws(() => venues.boreal({ e: 'trade', s: 'ETHEUR', p: '1', T: at }), /no symbol/);
  assert.throws(() => venues.cobalt([42, [], 'trade', 'ETH/USD']), /no price/);

  const node = await startServices(t, ['market-data', 'exchange-connectors'], { EXCHANGE_FEED: 'none' });
  const { url } = node['exchange-connectors'];
  const message = { e: 'trade', s: 'ETHUSD', p: '2999', T: Date.now() };
  assert.deepEqual((await json(`${url}/v1/messages/boreal`, message)).body, { status: 'forwarded', symbol: 'ETH-USD', price: '2999' });
  assert.equal((await json(`${node['market-data'].url}/v1/prices/ETH-USD`)).body.price, '2999');
  assert.equal((await json(`${url}/v1/messages/boreal`, { ...message, p: 1 })).status, 400);
  assert.equal((await json(`${url}/v1/messages/nowhere`, message)).status, 404);
  // market-data's reason reaches the one who sent the message.
  const late = await json(`${url}/v1/messages/boreal`, { ...message, T: Date.now() - 600_000 });
  assert.equal(late.status, 503);
  assert.match(late.body.message, /observedAt is too old/);
});

test('the recorded messages are what bin/record.mjs makes', (t) => {
  const again = join(scratch(t), 'recorded.jsonl');
  execFileSync(process.execPath, [fileURLToPath(new URL('../bin/record.mjs', import.meta.url)), again]);
  assert.equal(readFileSync(again, 'utf8'), readFileSync(join(services, 'exchange-connectors/recorded.jsonl'), 'utf8'));
});

test('data-connectors: strict CSV', () => {
  assert.deepEqual(parseCsv('a,b\r\n1,"x, ""y""\nz"\r\n'), [{ a: '1', b: 'x, "y"\nz' }]);
  assert.deepEqual(parseCsv('a,b\n1,'), [{ a: '1', b: '' }]);
  for (const [text, reason] of /** @type {[string, RegExp][]} */ ([
    ['a,b\n1\n', /row 1: 1 fields where the head has 2/],
    ['a,a\n1,2\n', /two columns/],
    ['a,\n1,2\n', /needs a name/],
    ['', /needs a name/],
    ['a\nx"y\n', /a quote where none may be/],
    ['a\n"x"y\n', /a quote where none may be|fields/],
  ])) assert.throws(() => parseCsv(text), reason, JSON.stringify(text));
  assert.throws(() => parseSources('gas=bundled:../../etc/passwd'), /http or https/);
  assert.throws(() => parseSources('a=http://h/,a=http://h/'), /names a twice/);
});

test('data-connectors keeps the last good version of a source', { timeout: 30_000 }, async (t) => {
  const source = await startStub(t, [{ body: 'code,usd\nEUR,1.1\n' }, { body: 'broken"' }]);
  const { url, logged } = await startService(t, 'data-connectors', {
    DATA_SOURCES: `fx=${source.url}/fx.csv,gas=bundled:gas.csv`, DATA_INTERVAL_MS: '100',
  });
  await until(`${url}/ready`, (response) => response.status === 200);
  await logged('read data set fx: failed');
  const { body } = await json(`${url}/v1/datasets/fx`);
  assert.deepEqual(body.rows, [{ code: 'EUR', usd: '1.1' }]);
  assert.match(body.digest, /^sha256:[0-9a-f]{64}$/);
  assert.equal((await json(`${url}/v1/datasets`)).body.datasets.length, 2);
});

test('ml-inference: the model is what train.py makes, and says what training said', { timeout: 60_000 }, async (t) => {
  const place = scratch(t);
  execFileSync(python(), [join(services, 'ml-inference/train.py'), place]);
  for (const file of ['model.onnx', 'model.json']) {
    assert.ok(readFileSync(join(place, file)).equals(readFileSync(join(services, 'ml-inference', file))), file);
  }
  const about = JSON.parse(readFileSync(join(place, 'model.json'), 'utf8'));

  const service = await startService(t, 'ml-inference');
  const answer = await json(`${service.url}/v1/predictions`, { prices: about.check.prices });
  assert.equal(answer.status, 200);
  assert.ok(Math.abs(answer.body.probabilityUp - about.check.probabilityUp) < 1e-4);
  assert.equal(answer.body.model, about.sha256);
  // A price level has no say, a fall is not a rise.
  const scaled = await json(`${service.url}/v1/predictions`, { prices: about.check.prices.map((/** @type {number} */ p) => p * 1000) });
  assert.ok(Math.abs(scaled.body.probabilityUp - answer.body.probabilityUp) < 1e-4);
  const fall = await json(`${service.url}/v1/predictions`, { prices: [...about.check.prices].reverse() });
  assert.ok(fall.body.probabilityUp < 0.5);
  for (const body of [{}, { prices: [1, 2] }, { prices: Array(8).fill('1') }, { prices: Array(8).fill(-1) }, { prices: Array(2001).fill(1) }, []]) {
    assert.equal((await json(`${service.url}/v1/predictions`, body)).status, 400, JSON.stringify(body).slice(0, 40));
  }
  assert.match((await json(`${service.url}/v1/model`)).body.runtime, /^onnxruntime \d/);
  assert.match(await (await fetch(`${service.url}/metrics`)).text(), /^noderr_predictions_total\{outcome="ok",service="ml-inference"\} 3$/m);
  service.child.kill('SIGTERM');
  assert.deepEqual(await service.closed, { code: 0, signal: null, stderr: '' }); // libraries have nothing to say
  assert.ok(service.lines.some(({ msg }) => msg === 'stopped'));
  const bad = await run('services/ml-inference/main.py', { ML_INFERENCE_PORT: 'x', LOG_LEVEL: 'loud' }).closed;
  assert.equal(bad.code, 64);
  assert.match(bad.stderr, /^ml-inference: 2 problem\(s\) in the settings\n {2}- ML_INFERENCE_PORT .*\n {2}- LOG_LEVEL /);
});

test('quant-research: figures that can be checked by hand', () => {
  const found = statistics([100, 110, 99, 99]);
  assert.equal(found.count, 3);
  assert.ok(Math.abs(found.maxDrawdown - 0.1) < 1e-12);
  assert.ok(Math.abs(found.momentum - Math.log(0.99)) < 1e-12);
  assert.equal(statistics([5, 5, 5]).volatility, 0);
  assert.equal(statistics([5, 5, 5]).zScore, 0);
  assert.throws(() => statistics([1, 2]), RangeError);
  assert.throws(() => statistics([1, 0, 2]), RangeError);
  const up = [1, 2, 3, 5, 4];
  assert.ok(Math.abs(correlation(up, up.map((price) => price * 7)) - 1) < 1e-12);
  assert.ok(Math.abs(correlation(up, up.map((price) => 1 / price)) + 1) < 1e-12);
});

test('market-intelligence: regimes and outliers', () => {
  const calm = { volatility: 0.01, ewmaVolatility: 0.01, momentum: 0.01, count: 100, maxDrawdown: 0.02 };
  assert.equal(regime(calm), 'calm');
  assert.equal(regime({ ...calm, momentum: -0.3 }), 'trending');
  assert.equal(regime({ ...calm, ewmaVolatility: 0.03 }), 'stressed');
  assert.equal(regime({ ...calm, maxDrawdown: 0.2 }), 'stressed');
  const observations = [['a', '100'], ['b', '100.5'], ['c', '90']].map(([source, price]) => ({ source, price }));
  const found = judge({ symbol: 'X', observations, statistics: calm, probabilityUp: 0.5 });
  assert.deepEqual(found.outliers, ['c']);
  assert.equal(found.dispersion, 0.1);
});

test('strategy: a stance is not given up at once', () => {
  const signal = { probabilityUp: 0.61, regime: 'calm', outliers: [] };
  assert.equal(decide('flat', signal).stance, 'long');
  assert.equal(decide('flat', { ...signal, probabilityUp: 0.55 }).stance, 'flat');
  assert.equal(decide('long', { ...signal, probabilityUp: 0.55 }).stance, 'long');
  assert.equal(decide('long', { ...signal, probabilityUp: 0.3 }).stance, 'short');
  assert.equal(decide('long', { ...signal, regime: 'stressed' }).stance, 'flat');
  assert.equal(decide('long', { ...signal, outliers: ['c'] }).reason, 'the sources disagree');
});

test('capital-ai: never more than there is, never too much in one', () => {
  /** @param {string} symbol @param {number} probabilityUp @param {'long' | 'short' | 'flat'} stance */
  const candidate = (symbol, probabilityUp, stance = 'long', volatility = 0.01) => ({ symbol, stance, probabilityUp, volatility });
  const many = Array.from({ length: 30 }, (_, i) => candidate(`S${i}`, 0.99));
  const { positions, reserve } = allocate(10_007n, many);
  const sum = positions.reduce((all, { amount }) => all + BigInt(amount), 0n);
  assert.equal(sum + BigInt(reserve), 10_007n);
  assert.ok(BigInt(reserve) >= 0n);
  const [one] = allocate(1_000_000n, [candidate('A', 0.99)]).positions;
  assert.equal(one.share, MAX_SHARE);
  assert.deepEqual(allocate(1000n, [candidate('A', 0.9, 'flat')]), { positions: [], reserve: '1000' });
  assert.equal(allocate(1000n, [candidate('A', 0.4, 'short')]).positions[0].side, 'short');
  // The more volatile of two equals gets less.
  const two = allocate(1_000_000n, [candidate('A', 0.6, 'long', 0.01), candidate('B', 0.6, 'long', 0.03)]).positions;
  assert.ok(two[0].share > two[1].share);
  assert.deepEqual(allocate(1000n, []), { positions: [], reserve: '1000' });
});
