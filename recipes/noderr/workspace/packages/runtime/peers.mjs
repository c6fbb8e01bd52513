// SPDX-License-Identifier: Apache-2.0
import { httpUrl, port } from './settings.mjs';

/** @import { Spec } from './env.mjs' */

/** Inner services are reached from inside the container only. */
export const LOOPBACK = '127.0.0.1';

/** The port of each inner service: one for all tiers, so that all of them can run side by side. */
export const PORTS = Object.freeze({
  'market-data': 4010,
  'exchange-connectors': 4011,
  'data-connectors': 4012,
  'ml-inference': 4013,
  'quant-research': 4014,
  'market-intelligence': 4015,
  strategy: 4016,
  'capital-ai': 4017,
  consensus: 4020,
  governance: 4021,
  execution: 4022,
  'risk-engine': 4023,
  'on-chain-settlement': 4024,
  'on-chain-service': 4030,
  'validator-consensus': 4031,
  heartbeat: 4032,
});

/** No answer of a peer is longer than this. */
const MAX_ANSWER_BYTES = 1024 * 1024;

/** @param {string} name */
export function portOf(name) {
  const number = /** @type {Record<string, number>} */ (PORTS)[name];
  if (number === undefined) throw new Error(`no port is set for ${name}`);
  return number;
}

/** @param {string} name such as `market-data` @returns {string} such as `MARKET_DATA` */
const variablePrefix = (name) => name.toUpperCase().replaceAll('-', '_');

/**
 * The setting of a service's own port, such as MARKET_DATA_PORT.
 *
 * @param {string} name
 * @returns {{ variable: string, spec: Spec }}
 */
export function portSetting(name) {
  const variable = `${variablePrefix(name)}_PORT`;
  return { variable, spec: { [variable]: { default: String(portOf(name)), parse: port } } };
}

/**
 * The setting of where a peer is, such as MARKET_DATA_URL.
 *
 * @param {...string} names
 * @returns {Spec}
 */
export function peerSettings(...names) {
  return Object.fromEntries(names.map((name) => [
    `${variablePrefix(name)}_URL`,
    { default: `http://${LOOPBACK}:${portOf(name)}`, parse: httpUrl },
  ]));
}

/**
 * Ask a peer: GET, or POST when there is a body. Anything but a 2xx answer with JSON is an error,
 * which has the peer's own words when it gave some.
 *
 * @param {string} base
 * @param {string} path
 * @param {{ body?: unknown, timeoutMs?: number }} [options]
 * @returns {Promise<any>}
 */
export async function ask(base, path, { body, timeoutMs = 2_000 } = {}) {
  const url = new URL(path, base);
  let response;
  let text;
  try {
    response = await fetch(url, {
      method: body === undefined ? 'GET' : 'POST',
      headers: body === undefined ? {} : { 'content-type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(timeoutMs),
      redirect: 'error',
    });
    text = await readBounded(response, MAX_ANSWER_BYTES);
  } catch (error) {
    throw peerError(503, `${url.origin} does not answer: ${reasonOf(error)}`);
  }
  const answer = parseJson(text);
  if (!response.ok) throw peerError(response.status, `${url.href}: ${answer?.message ?? `status ${response.status}`}`);
  if (answer === undefined) throw peerError(502, `${url.href}: the answer is not JSON`);
  return answer;
}

/**
 * The body as text; more than the limit is an error and is not read to its end.
 *
 * @param {Response} response
 * @param {number} limit bytes
 */
export async function readBounded(response, limit) {
  const decoder = new TextDecoder();
  let text = '';
  let size = 0;
  for await (const chunk of /** @type {AsyncIterable<Uint8Array>} */ (response.body ?? [])) {
    size += chunk.byteLength;
    if (size > limit) throw new Error(`the answer is longer than ${limit} bytes`);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/**
 * Why a request failed, in a word or two. fetch() hides the reason in `cause`.
 *
 * @param {unknown} error
 * @returns {string}
 */
export function reasonOf(error) {
  const { name, message, cause } = /** @type {Error & { cause?: any }} */ (error);
  if (name === 'TimeoutError') return 'no answer in time';
  return cause?.code ?? cause?.message ?? message;
}

/** @param {string} text @returns {any} */
function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * @param {number} peerStatus what the peer answered
 * @param {string} message
 */
function peerError(peerStatus, message) {
  // "Unknown symbol" is the caller's mistake here as it was there; everything else is ours.
  const statusCode = peerStatus === 404 ? 404 : 503;
  return Object.assign(new Error(message), { statusCode, peerStatus });
}
