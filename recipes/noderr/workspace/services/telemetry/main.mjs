// SPDX-License-Identifier: Apache-2.0
import { Gauge } from 'prom-client';
import { loadEnv } from '@noderr/runtime/env.mjs';
import { createLogger } from '@noderr/runtime/log.mjs';
import { createService } from '@noderr/runtime/service.mjs';
import { integer, nodeSettings, port } from '@noderr/runtime/settings.mjs';
import { parseSiblings, watchSiblings } from './siblings.mjs';

const name = 'telemetry';
const env = loadEnv(name, {
  ...nodeSettings,
  NODE_TIER: { default: 'oracle', pattern: /^[a-z][a-z0-9-]{0,31}$/ },
  METRICS_PORT: { default: '9090', parse: port },
  SIBLINGS: { default: 'market-data=http://127.0.0.1:3000', parse: parseSiblings },
  SCRAPE_INTERVAL_MS: { default: '5000', parse: integer(100, 600_000) },
  SCRAPE_TIMEOUT_MS: { default: '2000', parse: integer(50, 60_000) },
});

const log = createLogger({ service: name, level: env.LOG_LEVEL });
const service = createService({
  name,
  log,
  stopTimeoutMs: env.STOP_TIMEOUT_MS,
  about: {
    version: env.NODE_VERSION,
    nodeId: env.NODE_ID,
    deploymentEngineUrl: env.DEPLOYMENT_ENGINE_URL,
  },
});

const registers = [service.registry];
new Gauge({
  name: 'noderr_build_info',
  help: 'Always 1; the labels say which release this node runs',
  labelNames: ['version', 'node_id', 'tier'],
  registers,
}).set({ version: env.NODE_VERSION, node_id: env.NODE_ID, tier: env.NODE_TIER }, 1);

// The label "service" names the sibling and replaces the default label here.
const up = new Gauge({
  name: 'noderr_service_up',
  help: '1 when the last /health request to the sibling service succeeded, else 0',
  labelNames: ['service'],
  registers,
});

const stop = new AbortController();
service.app.addHook('onClose', async () => stop.abort());

service.notReady('the first scrape pass is not done');
await service.start({ host: env.HOST, port: env.METRICS_PORT });
watchSiblings({
  siblings: env.SIBLINGS,
  intervalMs: env.SCRAPE_INTERVAL_MS,
  timeoutMs: env.SCRAPE_TIMEOUT_MS,
  signal: stop.signal,
  log,
  onState: (sibling, isUp) => up.set({ service: sibling }, isUp ? 1 : 0),
  onPass: service.ready,
});
