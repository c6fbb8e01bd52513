// SPDX-License-Identifier: Apache-2.0
import { loadEnv } from '@noderr/runtime/env.mjs';
import { createLogger } from '@noderr/runtime/log.mjs';
import { createService } from '@noderr/runtime/service.mjs';
import { integer, nodeSettings, port } from '@noderr/runtime/settings.mjs';
import { createMetrics } from './metrics.mjs';
import { addRoutes } from './routes.mjs';
import { parseWallet } from './sign.mjs';
import { PriceWindow } from './window.mjs';

const name = 'market-data';
const env = loadEnv(name, {
  ...nodeSettings,
  API_PORT: { default: '3000', parse: port },
  MAX_AGE_MS: { default: '60000', parse: integer(1, 86_400_000) },
  MAX_SYMBOLS: { default: '100', parse: integer(1, 10_000) },
  MAX_SOURCES: { default: '20', parse: integer(1, 1_000) },
  WALLET_PRIVATE_KEY: { secret: true, pattern: /^(0x)?[0-9a-fA-F]{64}$/, parse: parseWallet },
});

const wallet = env.WALLET_PRIVATE_KEY;
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

const window = new PriceWindow({
  maxAgeMs: env.MAX_AGE_MS,
  maxSymbols: env.MAX_SYMBOLS,
  maxSources: env.MAX_SOURCES,
});
const { countObservation } = createMetrics(service.registry, window);
addRoutes(service.app, { nodeId: env.NODE_ID, window, wallet, countObservation });

log.info(wallet ? 'answers are signed' : 'no key given, answers are not signed', { signer: wallet?.address });
await service.start({ host: env.HOST, port: env.API_PORT });
service.ready();
