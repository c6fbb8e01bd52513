// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { Gauge } from 'prom-client';
import { readKey } from '@noderr/runtime/channel.mjs';
import { loadEnv } from '@noderr/runtime/env.mjs';
import { createLogger } from '@noderr/runtime/log.mjs';
import { repeat } from '@noderr/runtime/repeat.mjs';
import { createService } from '@noderr/runtime/service.mjs';
import { integer, nodeSettings, port, VERSION_FILE } from '@noderr/runtime/settings.mjs';
import { openState, stateSettings, wholeNumber } from '@noderr/runtime/state.mjs';
import { mergeMetrics, siblingMetrics } from './aggregate.mjs';
import { addGateway } from './gateway.mjs';
import { watchLatest } from './latest.mjs';
import { checkSiblings, parseSiblings } from './siblings.mjs';

const name = 'telemetry';
const slug = /^[a-z][a-z0-9-]{0,62}$/;
const env = loadEnv(name, {
  ...nodeSettings,
  ...stateSettings,
  NODE_TIER: { default: 'oracle', pattern: slug },
  HOST: { default: '0.0.0.0' },
  API_PORT: { default: '3000', parse: port },
  METRICS_PORT: { default: '9090', parse: port },
  SIBLINGS: { default: 'market-data', parse: parseSiblings },
  SCRAPE_INTERVAL_MS: { default: '5000', parse: integer(100, 600_000) },
  SCRAPE_TIMEOUT_MS: { default: '2000', parse: integer(50, 60_000) },
  RELEASE_PROJECT: { default: 'noderr', pattern: slug },
  RELEASE_CHANNEL: { default: 'stable', pattern: slug },
  RELEASE_KEY_PATH: { default: '/app/cosign.pub', parse: readKey },
  RELEASE_CHECK_INTERVAL_MS: { default: '3600000', parse: integer(1000, 86_400_000) },
});

const log = createLogger({ service: name, level: env.LOG_LEVEL });
const running = imageVersion() ?? env.NODE_VERSION;
const about = {
  tier: env.NODE_TIER,
  version: running,
  nodeId: env.NODE_ID,
  deploymentEngineUrl: env.DEPLOYMENT_ENGINE_URL,
};
const stopTimeoutMs = env.STOP_TIMEOUT_MS;
const own = createService({ name, log, stopTimeoutMs, about, metrics: 'collected' });
const api = createService({ name: 'api', log, stopTimeoutMs, about, metrics: 'none' });
const { registry } = own;

const registers = [registry];
new Gauge({
  name: 'noderr_build_info',
  help: 'Always 1; the labels say which release this node runs',
  labelNames: ['version', 'node_id', 'tier'],
  registers,
}).set({ version: running, node_id: env.NODE_ID, tier: env.NODE_TIER }, 1);
new Gauge({
  name: 'noderr_version_expected',
  help: '1 when the image is the version that NODE_VERSION asks for, else 0',
  registers,
}).set(running === env.NODE_VERSION ? 1 : 0);
// The label "service" names the sibling and replaces the default label here.
const up = new Gauge({
  name: 'noderr_service_up',
  help: '1 when the last /health request to the sibling service succeeded, else 0',
  labelNames: ['service'],
  registers,
});
if (running !== env.NODE_VERSION) {
  log.warn('the image is not the version that NODE_VERSION asks for', { running, expected: env.NODE_VERSION });
}

const siblings = env.SIBLINGS;
const timeoutMs = env.SCRAPE_TIMEOUT_MS;
const latest = watchLatest({
  engine: env.DEPLOYMENT_ENGINE_URL,
  key: env.RELEASE_KEY_PATH,
  project: env.RELEASE_PROJECT,
  channel: env.RELEASE_CHANNEL,
  running,
  timeoutMs: 10_000,
  log,
  registry,
  // Rollback protection has to outlive a restart; each tier of a shared container has its own.
  seen: openState(env.STATE_DIR, `channel-${env.NODE_TIER}`, wholeNumber, 0),
});
own.app.get('/metrics', { config: { probe: true } }, async (_request, reply) =>
  reply.type(registry.contentType).send(
    mergeMetrics([await registry.metrics(), ...await siblingMetrics(siblings, timeoutMs)])));
api.app.get('/v1/version', async () => ({ ...latest.state(), expected: env.NODE_VERSION }));
addGateway(api.app, { siblings, timeoutMs: 10_000 });

const stop = new AbortController();
own.app.addHook('preClose', async () => stop.abort());
const { signal } = stop;
for (const service of [own, api]) service.notReady('the first look at the other services is not done');
await own.start({ host: env.HOST, port: env.METRICS_PORT });
await api.start({ host: env.HOST, port: env.API_PORT });

// Not waited for: an engine that does not answer is no reason to keep a node from starting.
void repeat({
  what: 'check for a newer version', everyMs: env.RELEASE_CHECK_INTERVAL_MS, signal, log, task: latest.check,
});
/** @type {Map<string, boolean>} */
const last = new Map();
await repeat({
  what: 'look at the other services',
  everyMs: env.SCRAPE_INTERVAL_MS,
  signal,
  log,
  task: () => checkSiblings({
    siblings, timeoutMs, last, log, onState: (sibling, isUp) => up.set({ service: sibling }, isUp ? 1 : 0),
  }),
});
for (const service of [own, api]) service.ready();

/** The build writes it; it is missing where the workspace runs outside of an image. */
function imageVersion() {
  try {
    return readFileSync(VERSION_FILE, 'utf8').trim();
  } catch {
    return undefined;
  }
}
