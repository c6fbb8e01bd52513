#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// The health check of the container. Built-in modules only, so that it still
// tells the truth when node_modules is damaged, and starts fast.
import { get } from 'node:http';

const TIMEOUT_MS = 3_000;

const services = [
  { name: 'telemetry', port: process.env.METRICS_PORT || '9090' },
  { name: 'market-data', port: process.env.API_PORT || '3000' },
];

// A wildcard is an address to listen on, not one to connect to.
const listenHost = process.env.HOST || '0.0.0.0';
const host = ['0.0.0.0', '::'].includes(listenHost) ? '127.0.0.1' : listenHost;

/**
 * @param {{ name: string, port: string }} service
 * @returns {Promise<string | undefined>} what is wrong, if anything
 */
async function check({ name, port }) {
  try {
    const status = await requestStatus(port);
    return status === 200 ? undefined : `${name} (port ${port}): status ${status}`;
  } catch (error) {
    const { name: kind, code, message } = /** @type {NodeJS.ErrnoException} */ (error);
    const late = kind === 'AbortError';
    return `${name} (port ${port}): ${late ? `no answer within ${TIMEOUT_MS} ms` : code ?? message}`;
  }
}

/**
 * @param {string} port
 * @returns {Promise<number | undefined>}
 */
function requestStatus(port) {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const request = get({ host, port, path: '/health', agent: false, signal }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    request.on('error', reject);
  });
}

const failures = (await Promise.all(services.map(check))).filter((failure) => failure !== undefined);
for (const failure of failures) console.error(`unhealthy: ${failure}`);
process.exit(failures.length === 0 ? 0 : 1);
