// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const root = new URL('../', import.meta.url);

/** The settings without a default, and a port the system chooses. */
export const baseEnv = {
  NODE_ID: 'test-node',
  DEPLOYMENT_ENGINE_URL: 'https://engine.example.org/',
  NODE_VERSION: '1.2.3',
  HOST: '127.0.0.1',
  METRICS_PORT: '0',
  API_PORT: '0',
};

/**
 * Run a file of the workspace with nothing in its environment but what is given.
 *
 * @param {string} file
 * @param {Record<string, string>} env
 */
export function run(file, env) {
  const child = spawn(process.execPath, [fileURLToPath(new URL(file, root))], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', (chunk) => (stderr += chunk));
  const closed = once(child, 'close').then(([code, signal]) => ({ code, signal, stderr }));
  return { child, closed };
}

/**
 * Start a service and wait until it listens. It is killed when the test ends.
 *
 * @param {import('node:test').TestContext} t
 * @param {'telemetry' | 'market-data'} name
 * @param {Record<string, string>} [env]
 */
export async function startService(t, name, env = {}) {
  const { child, closed } = run(`services/${name}/main.mjs`, { ...baseEnv, ...env });
  t.after(async () => {
    child.kill('SIGKILL');
    await closed;
  });

  /** @type {Record<string, any>[]} */
  const lines = [];
  const reader = createInterface({ input: child.stdout });
  reader.on('line', (line) => lines.push(JSON.parse(line)));

  /**
   * Wait for a log line with this message.
   *
   * @param {string} msg
   * @returns {Promise<Record<string, any>>}
   */
  async function logged(msg) {
    const gone = closed.then(({ code, stderr }) => {
      throw new Error(`${name} ended with ${code} before it logged "${msg}"\n${stderr}`);
    });
    gone.catch(() => {}); // a later end of the process is not a failure of this wait
    for (;;) {
      const found = lines.find((line) => line.msg === msg);
      if (found) return found;
      await Promise.race([once(reader, 'line'), gone]);
    }
  }

  const { port } = await logged('listening');
  return { child, closed, lines, logged, port, url: `http://127.0.0.1:${port}` };
}

/**
 * Ask until the answer is as wanted; the timeout of the test ends a vain wait.
 *
 * @param {string} url
 * @param {(response: Response, text: string) => boolean} wanted
 */
export async function until(url, wanted) {
  for (;;) {
    const response = await fetch(url);
    const text = await response.text();
    if (wanted(response, text)) return text;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/**
 * @param {string} url base URL of market-data
 * @param {Record<string, unknown>} [fields] replace those of a valid observation
 */
export function postObservation(url, fields = {}) {
  const observation = {
    symbol: 'ETH-USD',
    price: '3000.5',
    source: 'venue-a',
    observedAt: new Date().toISOString(),
    ...fields,
  };
  return fetch(`${url}/v1/observations`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(observation),
  });
}
