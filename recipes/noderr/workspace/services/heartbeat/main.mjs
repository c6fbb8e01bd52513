// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { Counter, Gauge } from 'prom-client';
import { LOOPBACK, portOf } from '@noderr/runtime/peers.mjs';
import { repeat } from '@noderr/runtime/repeat.mjs';
import { serve } from '@noderr/runtime/serve.mjs';
import { httpUrl, integer } from '@noderr/runtime/settings.mjs';
import { lines, sign, walletSettings } from '@noderr/runtime/wallet.mjs';
import { send } from './send.mjs';

/** @param {string} text @returns {{ name: string, url: string }[]} */
function parseReported(text) {
  return text.split(',').map((item) => {
    const [, name, url] = /^\s*([a-z0-9][a-z0-9-]{0,62})(?:=(\S+))?\s*$/.exec(item) ?? [];
    if (!name) throw new Error('must be a list like market-data,on-chain-service');
    return { name, url: url ? httpUrl(url) : `http://${LOOPBACK}:${portOf(name)}` };
  });
}

await serve('heartbeat', {
  settings: {
    ...walletSettings,
    NFT_TOKEN_ID: { secret: true, pattern: /^\d{1,78}$/ },
    HEARTBEAT_SERVICES: {
      default: 'market-data,data-connectors,on-chain-service,validator-consensus',
      parse: parseReported,
    },
    HEARTBEAT_INTERVAL_MS: { default: '30000', parse: integer(50, 3_600_000) },
    HEARTBEAT_ATTEMPTS: { default: '4', parse: integer(1, 10) },
    HEARTBEAT_PAUSE_MS: { default: '500', parse: integer(1, 60_000) },
    HEARTBEAT_TIMEOUT_MS: { default: '5000', parse: integer(10, 60_000) },
  },
  setup({ env, log, app, registry, signal }) {
    const engine = env.DEPLOYMENT_ENGINE_URL;
    const url = new URL('v1/heartbeats', engine.endsWith('/') ? engine : `${engine}/`);
    let sequence = 0;
    /** @type {{ sequence: number, sentAt: string | null, problem: string | null }} */
    let last = { sequence: 0, sentAt: null, problem: 'none was sent yet' };
    const beats = new Counter({
      name: 'noderr_heartbeats_total', help: 'Reports by outcome', labelNames: ['outcome'], registers: [registry],
    });
    const age = new Gauge({
      name: 'noderr_heartbeat_timestamp_seconds', help: 'When a report was last taken', registers: [registry],
    });
    for (const outcome of ['sent', 'failed']) beats.inc({ outcome }, 0);
    app.get('/v1/status', async () => ({ ...last, url: url.href }));

    /** @param {{ name: string, url: string }} service */
    async function isReady({ name, url: base }) {
      try {
        const response = await fetch(new URL('/ready', base), { signal: AbortSignal.timeout(2_000) });
        await response.body?.cancel();
        return [name, response.ok];
      } catch {
        return [name, false];
      }
    }

    async function beat() {
      sequence += 1;
      const services = Object.fromEntries(await Promise.all(env.HEARTBEAT_SERVICES.map(isReady)));
      const body = {
        nodeId: env.NODE_ID,
        version: env.NODE_VERSION,
        nftTokenId: env.NFT_TOKEN_ID ?? null,
        sequence,
        sentAt: new Date().toISOString(),
        services,
      };
      // Over a digest of all, so that no field of a signed report can be changed on the way.
      const digest = createHash('sha256').update(JSON.stringify(body)).digest('hex');
      const signature = await sign(env.WALLET_PRIVATE_KEY, lines('noderr-heartbeat-v1', { node: env.NODE_ID, digest }));
      try {
        await send(url, { ...body, signature }, {
          attempts: env.HEARTBEAT_ATTEMPTS,
          pauseMs: env.HEARTBEAT_PAUSE_MS,
          timeoutMs: env.HEARTBEAT_TIMEOUT_MS,
          signal,
        });
        beats.inc({ outcome: 'sent' });
        age.set(Date.now() / 1000);
        last = { sequence, sentAt: body.sentAt, problem: null };
      } catch (error) {
        beats.inc({ outcome: 'failed' });
        last = { ...last, sequence, problem: /** @type {Error} */ (error).message };
        throw error;
      }
    }

    // A node whose engine is away goes on working: it is ready without the first report.
    return async () => {
      void repeat({ what: 'report to the engine', everyMs: env.HEARTBEAT_INTERVAL_MS, signal, log, task: beat });
    };
  },
});
