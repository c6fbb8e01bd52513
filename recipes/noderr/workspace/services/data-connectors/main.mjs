// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { Gauge } from 'prom-client';
import { readBounded, reasonOf } from '@noderr/runtime/peers.mjs';
import { repeat } from '@noderr/runtime/repeat.mjs';
import { httpError, serve } from '@noderr/runtime/serve.mjs';
import { integer } from '@noderr/runtime/settings.mjs';
import { parseCsv } from './csv.mjs';
import { parseSources } from './sources.mjs';

const MAX_BYTES = 1024 * 1024;

await serve('data-connectors', {
  settings: {
    DATA_SOURCES: { default: 'currencies=bundled:currencies.csv,gas=bundled:gas.csv', parse: parseSources },
    DATA_INTERVAL_MS: { default: '60000', parse: integer(100, 86_400_000) },
  },
  setup({ env, log, app, registry, signal }) {
    /** @type {Map<string, { digest: string, rows: Record<string, string>[], readAt: number }>} */
    const datasets = new Map();
    new Gauge({
      name: 'noderr_dataset_age_seconds',
      help: 'Time since a data set was last read without an error',
      labelNames: ['dataset'],
      registers: [registry],
      collect() {
        this.reset();
        for (const [dataset, { readAt }] of datasets) this.set({ dataset }, (Date.now() - readAt) / 1000);
      },
    });

    app.get('/v1/datasets', async () => ({
      datasets: [...datasets].map(([name, { digest, rows, readAt }]) =>
        ({ name, digest, rows: rows.length, readAt: new Date(readAt).toISOString() })),
    }));
    app.get('/v1/datasets/:name', async (request) => {
      const { name } = /** @type {{ name: string }} */ (request.params);
      const found = datasets.get(name);
      if (!found) throw httpError(404, 'unknown data set');
      return { name, digest: found.digest, rows: found.rows };
    });

    return async () => {
      await Promise.all(env.DATA_SOURCES.map((/** @type {import('./sources.mjs').Source} */ { name, url }) => repeat({
        what: `read data set ${name}`,
        everyMs: env.DATA_INTERVAL_MS,
        signal,
        log,
        async task() {
          const text = await readSource(url);
          const digest = `sha256:${createHash('sha256').update(text).digest('hex')}`;
          const known = datasets.get(name);
          // A broken source does not replace what it said when it was well.
          const rows = known?.digest === digest ? known.rows : parseCsv(text);
          if (known?.digest !== digest) log.info('data set changed', { dataset: name, digest, rows: rows.length });
          datasets.set(name, { digest, rows, readAt: Date.now() });
        },
      })));
    };
  },
});

/** @param {URL} url */
async function readSource(url) {
  if (url.protocol === 'bundled:') {
    return readFile(new URL(`data/${url.pathname}`, import.meta.url), 'utf8');
  }
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(10_000) });
    const text = await readBounded(response, MAX_BYTES);
    if (response.ok) return text;
    throw new Error(`status ${response.status}`);
  } catch (error) {
    throw new Error(reasonOf(error));
  }
}
