// SPDX-License-Identifier: Apache-2.0
import { blockHash } from './header.mjs';

/** @import { Header } from './header.mjs' */
/** @typedef {{ hash: string, parent: string, number: number, timestamp: number }} Block */

/**
 * Headers that link up to one that was trusted from the start. The longest branch is the chain; of
 * two equal ones the first seen. What is too far behind the head is final and forgotten.
 */
export class Chain {
  /** @type {Map<string, Block>} */
  #blocks = new Map();

  /**
   * @param {Header} anchor
   * @param {{ depth: number, maxBlocks?: number }} options how far behind the head a branch may begin
   */
  constructor(anchor, { depth, maxBlocks = 10_000 }) {
    this.depth = depth;
    this.maxBlocks = maxBlocks;
    this.reorganisations = 0;
    this.head = block(anchor);
    this.#blocks.set(this.head.hash, this.head);
  }

  /**
   * @param {Header} header
   * @returns {{ block: Block, outcome: 'head' | 'branch' | 'known' }}
   */
  add(header) {
    const added = block(header);
    if (this.#blocks.has(added.hash)) return { block: added, outcome: 'known' };
    const parent = this.#blocks.get(added.parent);
    if (!parent) throw new Error('its parent is not known');
    if (added.number !== parent.number + 1) throw new Error('its number does not follow its parent');
    if (added.timestamp <= parent.timestamp) throw new Error('its time does not follow its parent');
    if (added.number + this.depth <= this.head.number) throw new Error('it is too far behind the head');
    if (this.#blocks.size >= this.maxBlocks) throw new Error('too many branches');
    this.#blocks.set(added.hash, added);
    if (added.number <= this.head.number) return { block: added, outcome: 'branch' };
    if (added.parent !== this.head.hash) this.reorganisations += 1;
    this.head = added;
    this.#forget();
    return { block: added, outcome: 'head' };
  }

  /** @param {string} hash */
  find(hash) {
    return this.#blocks.get(hash);
  }

  #forget() {
    for (const [hash, { number }] of this.#blocks) {
      if (number + this.depth < this.head.number) this.#blocks.delete(hash);
    }
  }
}

/** @param {Header} header @returns {Block} */
function block(header) {
  const hash = blockHash(header);
  const [number, timestamp] = [Number(header.number), Number(header.timestamp)];
  if (!Number.isSafeInteger(number) || !Number.isSafeInteger(timestamp)) throw new Error('a number is too large');
  return { hash, parent: header.parentHash, number, timestamp };
}
