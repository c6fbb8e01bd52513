// SPDX-License-Identifier: Apache-2.0
import { encodeRlp, keccak256, toBeHex } from 'ethers';

/**
 * Fields of an Ethereum block header in the order in which they are hashed. Those with a mark came
 * with later forks: a header has the first fifteen, and then as many of the others as its fork has.
 *
 * @type {[name: string, kind: 'bytes' | 'number', size: number][]}
 */
const FIELDS = [
  ['parentHash', 'bytes', 32], ['sha3Uncles', 'bytes', 32], ['miner', 'bytes', 20], ['stateRoot', 'bytes', 32],
  ['transactionsRoot', 'bytes', 32], ['receiptsRoot', 'bytes', 32], ['logsBloom', 'bytes', 256],
  ['difficulty', 'number', 32], ['number', 'number', 8], ['gasLimit', 'number', 8], ['gasUsed', 'number', 8],
  ['timestamp', 'number', 8], ['extraData', 'bytes', -1], ['mixHash', 'bytes', 32], ['nonce', 'bytes', 8],
  ['baseFeePerGas', 'number', 32], ['withdrawalsRoot', 'bytes', 32], ['blobGasUsed', 'number', 8],
  ['excessBlobGas', 'number', 8], ['parentBeaconBlockRoot', 'bytes', 32], ['requestsHash', 'bytes', 32],
];
const REQUIRED = 15;
const MAX_EXTRA_BYTES = 32;

/** @typedef {Record<string, string>} Header as `eth_getBlockByNumber` gives it: hex with 0x */

/**
 * The hash of a block is keccak256 over the RLP of its header. It is computed, never believed.
 *
 * @param {Header} header
 * @returns {string}
 */
export function blockHash(header) {
  const present = FIELDS.filter(([name], i) => i < REQUIRED || header[name] !== undefined);
  if (present.some(([name], i) => name !== FIELDS[i][0])) throw new Error('a field of an earlier fork is missing');
  return keccak256(encodeRlp(present.map(([name, kind, size]) => item(header[name], name, kind, size))));
}

/**
 * @param {string | undefined} value
 * @param {string} name
 * @param {'bytes' | 'number'} kind
 * @param {number} size
 */
function item(value, name, kind, size) {
  if (typeof value !== 'string' || !/^0x[0-9a-f]*$/.test(value)) throw new Error(`${name} is not hex`);
  if (kind === 'number') {
    if (value === '0x' || value.length > 2 + 2 * size) throw new Error(`${name} is not a number`);
    const number = BigInt(value);
    return number === 0n ? '0x' : toBeHex(number); // RLP writes a number without leading zeros
  }
  const length = (value.length - 2) / 2;
  const fits = size === -1 ? length <= MAX_EXTRA_BYTES : length === size;
  if (!Number.isInteger(length) || !fits) throw new Error(`${name} has a wrong length`);
  return value;
}
