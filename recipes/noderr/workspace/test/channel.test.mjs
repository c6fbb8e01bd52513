// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { generateKeyPairSync, sign } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openChannel } from '@noderr/runtime/channel.mjs';
import { compareVersions } from '@noderr/runtime/version.mjs';
import { json, startService, startStub, until } from './helpers.mjs';

const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const NOW = Date.UTC(2026, 10, 21);
const day = 86_400_000;

/** A channel as imgforge seals it. @param {Record<string, unknown>} [fields] @param {import('node:crypto').KeyObject} [key] */
function sealed(fields = {}, key = privateKey, now = NOW) {
  const predicate = {
    project: 'noderr', channel: 'stable', sequence: 7,
    issued: new Date(now - day).toISOString(), expires: new Date(now + 29 * day).toISOString(),
    version: '1.3.0', release: `sha256:${'0'.repeat(64)}`, floor: null, ...fields,
  };
  const type = 'application/vnd.in-toto+json';
  const payload = Buffer.from(JSON.stringify({
    _type: 'https://in-toto.io/Statement/v1', subject: [], predicateType: 'https://imgforge.dev/channel/v1', predicate,
  }));
  const sig = sign('sha256', Buffer.concat([Buffer.from(`DSSEv1 ${type.length} ${type} ${payload.length} `), payload]), key);
  return JSON.stringify({
    mediaType: 'application/vnd.dev.sigstore.bundle.v0.3+json',
    verificationMaterial: { publicKey: { hint: '' } },
    dsseEnvelope: { payload: payload.toString('base64'), payloadType: type, signatures: [{ sig: sig.toString('base64') }] },
  });
}

const expected = { project: 'noderr', channel: 'stable', now: NOW };

test('a channel is verified with a key, and only read without one', () => {
  assert.equal(openChannel(sealed(), publicKey, expected).trust, 'verified');
  assert.equal(openChannel(sealed(), undefined, expected).trust, 'unverified');
  assert.equal(openChannel(sealed(), publicKey, expected).channel.version, '1.3.0');
});

test('what is not the channel that was asked for is refused, with the reason', () => {
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const changed = JSON.parse(sealed());
  const payload = Buffer.from(changed.dsseEnvelope.payload, 'base64').toString().replace('1.3.0', '9.9.9');
  changed.dsseEnvelope.payload = Buffer.from(payload).toString('base64');
  const twice = JSON.parse(sealed());
  twice.dsseEnvelope.signatures.push(twice.dsseEnvelope.signatures[0]);
  /** @type {[RegExp, string][]} */
  const cases = [
    [/signature is wrong/, sealed({}, other)],
    [/signature is wrong/, JSON.stringify(changed)],
    [/exactly one signature/, JSON.stringify(twice)],
    [/no Sigstore bundle/, '{"mediaType":"x"}'],
    [/JSON/, 'hello'],
    [/channel stable of other/, sealed({ project: 'other' })],
    [/channel edge of noderr/, sealed({ channel: 'edge' })],
    [/expired at/, sealed({ expires: new Date(NOW - 1).toISOString() })],
    [/ahead of this clock/, sealed({ issued: new Date(NOW + 2 * day).toISOString() })],
    [/no number/, sealed({ sequence: 0 })],
  ];
  for (const [reason, text] of cases) assert.throws(() => openChannel(text, publicKey, expected), reason);
});

test('versions are ordered as Semantic Versioning says', () => {
  const sorted = ['0.9.10', '1.0.0-alpha', '1.0.0-alpha.1', '1.0.0-beta.2', '1.0.0-beta.11', '1.0.0-rc.1', '1.0.0', '1.0.10', '1.2.0'];
  assert.deepEqual([...sorted].reverse().sort(compareVersions), sorted);
  assert.equal(compareVersions('1.2.3', '1.2.3'), 0);
  assert.throws(() => compareVersions('v1', '1.0.0'), /not a version/);
});

test('telemetry reports a newer version, refuses an older document, and installs nothing', { timeout: 30_000 }, async (t) => {
  const place = mkdtempSync(join(tmpdir(), 'noderr-test-'));
  t.after(() => rmSync(place, { recursive: true }));
  const pem = join(place, 'cosign.pub');
  writeFileSync(pem, publicKey.export({ type: 'spki', format: 'pem' }));
  const now = Date.now();
  const engine = await startStub(t, [{ body: sealed({}, privateKey, now) }]);
  const settings = {
    SIBLINGS: 'x=http://127.0.0.1:9',
    DEPLOYMENT_ENGINE_URL: `${engine.url}/base`,
    RELEASE_KEY_PATH: pem,
    RELEASE_CHECK_INTERVAL_MS: '1000',
    STATE_DIR: place,
  };
  const service = await startService(t, 'telemetry', settings);
  const api = `http://127.0.0.1:${(await service.logged('listening', ({ server }) => server === 'api')).port}`;
  await service.logged('a newer version is there; nothing is installed');
  const { body } = await json(`${api}/v1/version`);
  assert.deepEqual([body.running, body.latest, body.trust, body.problem], ['1.2.3', '1.3.0', 'verified', null]);
  assert.deepEqual(engine.requests[0], { method: 'GET', path: '/base/latest', body: '' });
  const text = await (await fetch(`${service.url}/metrics`)).text();
  assert.match(text, /^noderr_update_available\{service="telemetry"\} 1$/m);
  assert.match(text, /^noderr_channel_checks_total\{result="verified",service="telemetry"\} \d+$/m);

  engine.answers[0] = { body: sealed({ sequence: 6, version: '1.0.0' }, privateKey, now) };
  await until(`${api}/v1/version`, (_response, answer) => answer.includes('sequence 6, and 7 was seen before'));
  assert.equal((await json(`${api}/v1/version`)).body.latest, '1.3.0');

  service.child.kill('SIGTERM');
  await service.closed;
  const again = await startService(t, 'telemetry', settings);
  const { reason } = await again.logged('check for a newer version: failed');
  assert.match(reason, /sequence 6, and 7 was seen before/, 'also after a restart');
});
