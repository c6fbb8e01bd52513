// SPDX-License-Identifier: Apache-2.0
import { readBounded, reasonOf } from '@noderr/runtime/peers.mjs';
import { httpError } from '@noderr/runtime/serve.mjs';

/** @import { FastifyInstance } from 'fastify' */
/** @import { Sibling } from './siblings.mjs' */

const MAX_ANSWER_BYTES = 1024 * 1024;

/**
 * The public API of the node: `/v1/<service>/<rest>` goes to that sibling's `/v1/<rest>`. What a
 * sibling has outside of `/v1/`, such as `/internal/`, cannot be reached from outside.
 *
 * @param {FastifyInstance} app
 * @param {{ siblings: Sibling[], timeoutMs: number }} options
 */
export function addGateway(app, { siblings, timeoutMs }) {
  const known = new Map(siblings.map(({ name, url }) => [name, url]));
  // The sibling parses and checks the body; here it is bytes.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));

  app.get('/v1', async () => ({ services: [...known.keys()].sort() }));
  app.route({
    method: ['GET', 'POST'],
    url: '/v1/:service/*',
    async handler(request, reply) {
      const { service, '*': rest } = /** @type {Record<string, string>} */ (request.params);
      const base = known.get(service);
      if (!base) throw httpError(404, 'no such service');
      const url = target(base, rest, request.url);
      const type = request.headers['content-type'];
      let response;
      let text;
      try {
        response = await fetch(url, {
          method: request.method,
          headers: type ? { 'content-type': type } : {},
          body: request.method === 'POST' ? new Uint8Array(/** @type {Buffer} */ (request.body ?? [])) : undefined,
          signal: AbortSignal.timeout(timeoutMs),
          redirect: 'error',
        });
        text = await readBounded(response, MAX_ANSWER_BYTES);
      } catch (error) {
        throw httpError(502, `${service} does not answer: ${reasonOf(error)}`);
      }
      return reply
        .code(response.status)
        .type(response.headers.get('content-type') ?? 'text/plain')
        .send(text);
    },
  });
}

/**
 * @param {string} base
 * @param {string} rest
 * @param {string} original with the query
 */
function target(base, rest, original) {
  const url = new URL(`/v1/${rest.split('/').map(encodeURIComponent).join('/')}`, base);
  // `..` and `%2e%2e` are resolved by the URL; what left /v1/ is not what was asked for.
  if (!url.pathname.startsWith('/v1/')) throw httpError(404, 'no such path');
  url.search = new URL(original, 'http://gateway').search;
  return url;
}
