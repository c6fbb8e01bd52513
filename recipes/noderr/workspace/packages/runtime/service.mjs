// SPDX-License-Identifier: Apache-2.0
import fastify from 'fastify';
import { collectDefaultMetrics, Registry } from 'prom-client';

/** @import { FastifyInstance } from 'fastify' */
/** @import { Logger } from './log.mjs' */

/**
 * @typedef {object} Service
 * @property {string} name
 * @property {FastifyInstance} app routes are added here before start()
 * @property {Registry} registry metrics are registered here
 * @property {(reason: string) => void} notReady /ready answers 503 with this reason
 * @property {() => void} ready /ready answers 200
 * @property {(at: { host: string, port: number }) => Promise<void>} start
 */

/** Servers of this process; it ends when all of them have stopped. @type {(() => Promise<void>)[]} */
const stops = [];

/**
 * An HTTP server with /health, /ready, /metrics and a clean stop. A process may have more than one.
 *
 * @param {object} options
 * @param {string} options.name
 * @param {Logger} options.log
 * @param {number} options.stopTimeoutMs
 * @param {Record<string, string>} options.about fields added to the /health answer
 * @param {'served' | 'collected' | 'none'} [options.metrics] `collected`: the caller adds /metrics
 * @returns {Service}
 */
export function createService({ name, log, stopTimeoutMs, about, metrics = 'served' }) {
  const registry = new Registry();
  registry.setDefaultLabels({ service: name });
  if (metrics !== 'none') collectDefaultMetrics({ register: registry });

  const app = fastify({
    bodyLimit: 64 * 1024,
    requestTimeout: 30_000,
    // Fastify would turn the JSON number 1.5 into the string "1.5" and drop
    // unknown fields in silence. Both hide mistakes of the sender.
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false } },
  });

  /** @type {string | undefined} */
  let reason = 'starting';
  let stopping = false;
  let inFlight = 0;

  app.addHook('onRequest', async (_request, reply) => {
    inFlight += 1;
    // "close" comes once per response, also when the client went away early.
    reply.raw.once('close', () => {
      inFlight -= 1;
      if (stopping) closeUnused();
    });
  });
  app.addHook('onSend', async (_request, reply) => {
    if (stopping) reply.header('connection', 'close');
  });
  app.addHook('onResponse', async (request, reply) => {
    if (/** @type {any} */ (request.routeOptions.config).probe) return;
    log.info('request', {
      method: request.method,
      path: request.url.split('?', 1)[0],
      status: reply.statusCode,
      ms: Math.round(reply.elapsedTime),
    });
  });
  app.setErrorHandler((/** @type {any} */ error, _request, reply) => {
    // Fastify and the routes set a status on the errors they mean to show.
    if (error.statusCode) return reply.send(error);
    log.error('request failed', { error });
    return reply.code(500).send({ statusCode: 500, error: 'Internal Server Error', message: 'internal error' });
  });

  const probe = { config: { probe: true } };
  app.get('/health', probe, async () => ({ status: 'ok', service: name, ...about }));
  app.get('/ready', probe, async (_request, reply) => {
    if (reason === undefined) return { ready: true };
    return reply.code(503).send({ ready: false, reason });
  });
  if (metrics === 'served') {
    app.get('/metrics', probe, async (_request, reply) =>
      reply.type(registry.contentType).send(await registry.metrics()));
  }

  /**
   * Fastify closes idle connections only. One that never sent a request does
   * not count as idle in Node and would hold the stop until the time limit.
   */
  function closeUnused() {
    if (inFlight === 0) app.server.closeAllConnections();
  }

  async function stop() {
    stopping = true;
    reason = 'stopping';
    const closed = app.close();
    // After this turn of the loop a request that had already arrived is counted.
    setImmediate(closeUnused);
    await closed;
  }

  return {
    name,
    app,
    registry,
    ready() {
      if (!stopping) reason = undefined;
    },
    notReady(text) {
      if (!stopping) reason = text;
    },
    async start({ host, port }) {
      if (stops.push(stop) === 1) stopOnSignal({ log, stopTimeoutMs });
      try {
        await app.listen({ host, port });
        const [bound] = /** @type {import('node:net').AddressInfo[]} */ (app.addresses());
        log.info('listening', { server: name, host, port: bound?.port, ...about });
      } catch (error) {
        if (stopping) return; // stopOnSignal() ends the process
        log.error('cannot listen', { server: name, host, port, error });
        process.exit(1);
      }
    },
  };
}

/**
 * @param {object} options
 * @param {Logger} options.log
 * @param {number} options.stopTimeoutMs
 */
function stopOnSignal({ log, stopTimeoutMs }) {
  let stopping = false;
  /** @param {NodeJS.Signals} signal */
  async function end(signal) {
    if (stopping) return;
    stopping = true;
    log.info('stopping', { signal });
    setTimeout(() => {
      log.error('stop took too long', { stopTimeoutMs });
      process.exit(1);
    }, stopTimeoutMs);
    try {
      await Promise.all(stops.map((stop) => stop()));
    } catch (error) {
      log.error('stop failed', { error });
      process.exit(1);
    }
    log.info('stopped');
    process.exit(0);
  }
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
}
