// SPDX-License-Identifier: Apache-2.0
import { loadEnv } from './env.mjs';
import { createLogger } from './log.mjs';
import { LOOPBACK, portSetting } from './peers.mjs';
import { createService } from './service.mjs';
import { nodeSettings } from './settings.mjs';

/** @import { FastifyInstance } from 'fastify' */
/** @import { Registry } from 'prom-client' */
/** @import { Spec } from './env.mjs' */
/** @import { Logger } from './log.mjs' */

/**
 * What a service gets to set itself up with.
 *
 * @typedef {object} Place
 * @property {Record<string, any>} env the settings
 * @property {Logger} log
 * @property {FastifyInstance} app
 * @property {Registry} registry
 * @property {AbortSignal} signal aborts when the service stops
 */

/**
 * The whole life of an inner service: settings, server on its loopback port, work, clean stop.
 *
 * @param {string} name
 * @param {object} service
 * @param {Spec} [service.settings] besides those of every service
 * @param {(place: Place) => Promise<void | (() => Promise<void>)> | void | (() => Promise<void>)} service.setup
 *   adds routes; what it returns runs once the server listens, and the service is ready when that is done
 */
export async function serve(name, { settings = {}, setup }) {
  const port = portSetting(name);
  const env = loadEnv(name, { ...nodeSettings, ...port.spec, ...settings });
  const log = createLogger({ service: name, level: env.LOG_LEVEL });
  const service = createService({
    name,
    log,
    stopTimeoutMs: env.STOP_TIMEOUT_MS,
    about: { version: env.NODE_VERSION, nodeId: env.NODE_ID },
  });
  const stop = new AbortController();
  service.app.addHook('preClose', async () => stop.abort());
  const place = { env, log, app: service.app, registry: service.registry, signal: stop.signal };
  let begin;
  try {
    begin = await setup(place);
  } catch (error) {
    log.error('cannot start', { error });
    process.exit(1);
  }
  await service.start({ host: LOOPBACK, port: env[port.variable] });
  await begin?.();
  service.ready();
}

/**
 * An error whose message the caller may read.
 *
 * @param {number} statusCode
 * @param {string} message
 */
export function httpError(statusCode, message) {
  return Object.assign(new Error(message), { statusCode });
}
