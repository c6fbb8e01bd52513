// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { PORTS } from '@noderr/runtime/peers.mjs';

const root = new URL('../', import.meta.url);

/** @param {string} name @param {string} kind */
const variable = (name, kind) => `${name.toUpperCase().replaceAll('-', '_')}_${kind}`;

/** The settings without a default, and for every service a port that the system chooses. */
export const baseEnv = {
  NODE_ID: 'test-node',
  DEPLOYMENT_ENGINE_URL: 'https://engine.example.org/',
  NODE_VERSION: '1.2.3',
  HOST: '127.0.0.1',
  API_PORT: '0',
  METRICS_PORT: '0',
  ...Object.fromEntries(Object.keys(PORTS).map((name) => [variable(name, 'PORT'), '0'])),
};

/** A Python that has onnxruntime. @returns {string} */
export function python() {
  const local = fileURLToPath(new URL('.venv/bin/python', root));
  const found = process.env.ML_PYTHON ?? (existsSync(local) ? local : undefined);
  if (found) return found;
  throw new Error('no Python with onnxruntime: python3 -m venv .venv && .venv/bin/pip install "onnxruntime<1.29", or set ML_PYTHON');
}

/**
 * Run a file of the workspace with nothing in its environment but what is given.
 *
 * @param {string} file
 * @param {Record<string, string>} env
 * @param {string[]} [words]
 */
export function run(file, env, words = []) {
  const program = file.endsWith('.py') ? python() : process.execPath;
  const child = spawn(program, [fileURLToPath(new URL(file, root)), ...words], {
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
 * @param {string} name
 * @param {Record<string, string>} [env]
 */
export async function startService(t, name, env = {}) {
  const file = name === 'ml-inference' ? 'main.py' : 'main.mjs';
  const { child, closed } = run(`services/${name}/${file}`, { ...baseEnv, ...env });
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
   * @param {(line: Record<string, any>) => boolean} [wanted]
   * @returns {Promise<Record<string, any>>}
   */
  async function logged(msg, wanted = () => true) {
    const gone = closed.then(({ code, stderr }) => {
      throw new Error(`${name} ended with ${code} before it logged "${msg}"\n${stderr}`);
    });
    gone.catch(() => {}); // a later end of the process is not a failure of this wait
    for (;;) {
      const found = lines.find((line) => line.msg === msg && wanted(line));
      if (found) return found;
      await Promise.race([once(reader, 'line'), gone]);
    }
  }

  const { port } = await logged('listening');
  return { name, child, closed, lines, logged, port, url: `http://127.0.0.1:${port}` };
}

/**
 * Start services one after the other, each knowing where those before it are.
 *
 * @param {import('node:test').TestContext} t
 * @param {string[]} names
 * @param {Record<string, string>} [env]
 */
export async function startServices(t, names, env = {}) {
  /** @type {Record<string, Awaited<ReturnType<typeof startService>>>} */
  const services = {};
  /** @type {Record<string, string>} */
  const known = { ...env };
  for (const name of names) {
    services[name] = await startService(t, name, known);
    known[variable(name, 'URL')] = services[name].url;
  }
  return services;
}

/**
 * A stand-in for a server that is not ours. Each request gets the next answer; the last one stays.
 *
 * @param {import('node:test').TestContext} t
 * @param {{ status?: number, body?: string }[]} answers
 */
export async function startStub(t, answers) {
  /** @type {{ method?: string, path?: string, body: any }[]} */
  const requests = [];
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += chunk;
    requests.push({ method: request.method, path: request.url, body: text && JSON.parse(text) });
    const { status = 200, body = '' } = (answers.length > 1 ? answers.shift() : answers[0]) ?? {};
    response.writeHead(status).end(body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  return { url: `http://127.0.0.1:${port}`, requests, answers };
}

/**
 * GET, or POST when there is a body.
 *
 * @param {string} url
 * @param {unknown} [body]
 * @returns {Promise<{ status: number, body: any }>}
 */
export async function json(url, body) {
  const response = await fetch(url, body === undefined ? {} : {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body),
  });
  return { status: response.status, body: await response.json() };
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
