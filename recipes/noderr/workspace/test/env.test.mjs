// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readEnv } from '@noderr/runtime/env.mjs';
import { createLogger } from '@noderr/runtime/log.mjs';
import { nodeSettings } from '@noderr/runtime/settings.mjs';
import { baseEnv, run } from './helpers.mjs';

/** @param {import('node:test').TestContext} t @param {string} content */
function tempFile(t, content) {
  const dir = mkdtempSync(join(tmpdir(), 'noderr-test-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const file = join(dir, 'content');
  writeFileSync(file, content);
  return file;
}

test('defaults apply, and an empty variable counts as not set', () => {
  const { values, problems } = readEnv(nodeSettings, { ...baseEnv, STOP_TIMEOUT_MS: '', LOG_LEVEL: '' });
  assert.deepEqual(problems, []);
  assert.equal(values.LOG_LEVEL, 'info');
  assert.equal(values.STOP_TIMEOUT_MS, 10_000);
});

test('a URL with credentials is refused without repeating them', () => {
  const { problems } = readEnv(nodeSettings, { ...baseEnv, DEPLOYMENT_ENGINE_URL: 'https://me:hunter2@example.org' });
  assert.deepEqual(problems, ['DEPLOYMENT_ENGINE_URL must not contain a user name or password']);
});

test('a secret comes from its variable or from its file', (t) => {
  const spec = { TOKEN: { secret: true, required: true, pattern: /^[a-z]+$/ } };
  const file = tempFile(t, 'abc\n');
  assert.equal(readEnv(spec, { TOKEN: 'xyz' }).values.TOKEN, 'xyz');
  assert.equal(readEnv(spec, { TOKEN_FILE: file }).values.TOKEN, 'abc');
  assert.match(readEnv(spec, { TOKEN: 'xyz', TOKEN_FILE: file }).problems[0], /both set/);
  assert.match(readEnv(spec, { TOKEN_FILE: `${file}.missing` }).problems[0], /does not exist/);
  assert.match(readEnv(spec, { TOKEN_FILE: tempFile(t, '\n') }).problems[0], /is empty/);
  assert.match(readEnv(spec, {}).problems[0], /is not set \(nor is TOKEN_FILE\)/);
  assert.doesNotMatch(readEnv(spec, { TOKEN: 'S3CRET' }).problems[0], /S3CRET/);
});

test('the variable wins over the fallback file, which may be missing', (t) => {
  const file = tempFile(t, '4.5.6\n');
  const spec = { V: { required: true, fallbackFile: file } };
  assert.equal(readEnv(spec, { V: '1.2.3' }).values.V, '1.2.3');
  assert.equal(readEnv(spec, {}).values.V, '4.5.6');
  const missing = { V: { required: true, fallbackFile: `${file}.missing` } };
  assert.deepEqual(readEnv(missing, {}).problems, ['V is not set']);
});

test('a service reports all problems in one message and exits 64', { timeout: 20_000 }, async () => {
  const key = 'f'.repeat(64); // 64 hex digits, but above the order of the curve
  const { closed } = run('services/market-data/main.mjs', {
    NODE_ID: 'Not Valid',
    NODE_VERSION: '1.2.3',
    MARKET_DATA_PORT: '99999',
    LOG_LEVEL: 'loud',
    WALLET_PRIVATE_KEY: key,
  });
  const { code, stderr } = await closed;
  assert.equal(code, 64);
  assert.match(stderr, /^market-data: 5 problem\(s\) in the settings\n/);
  for (const name of ['NODE_ID', 'DEPLOYMENT_ENGINE_URL', 'MARKET_DATA_PORT', 'LOG_LEVEL', 'WALLET_PRIVATE_KEY']) {
    assert.match(stderr, new RegExp(`^  - ${name} `, 'm'));
  }
  assert.ok(!stderr.includes(key), 'the key is not printed');
});

test('SIBLINGS is checked like any other setting', { timeout: 20_000 }, async () => {
  const { closed } = run('services/telemetry/main.mjs', { ...baseEnv, SIBLINGS: 'a=http://h,a=http://h' });
  const { code, stderr } = await closed;
  assert.equal(code, 64);
  assert.match(stderr, /SIBLINGS names a twice/);
});

test('log lines are JSON, below the level nothing is written, no field replaces the head', () => {
  /** @type {string[]} */
  const out = [];
  const log = createLogger({ service: 's', level: 'warn', out: { write: (line) => out.push(line) } });
  log.info('hidden');
  log.error('shown', { level: 'debug', amount: 1n, error: new Error('why') });
  assert.equal(out.length, 1);
  const line = JSON.parse(out[0]);
  assert.deepEqual(Object.keys(line).slice(0, 4), ['time', 'level', 'service', 'msg']);
  assert.equal(line.level, 'error');
  assert.equal(line.amount, '1');
  assert.equal(line.error.message, 'why');
});
