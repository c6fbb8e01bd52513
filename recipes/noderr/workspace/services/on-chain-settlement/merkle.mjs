// SPDX-License-Identifier: Apache-2.0
import { concat, keccak256 } from 'ethers';

/**
 * A Merkle tree over keccak256, in the form that on-chain verifiers expect: the two hashes of a pair
 * are sorted before they are joined, so a proof is a plain list. Leaves are hashed twice, so that no
 * inner node can be passed off as a leaf. A node without a partner moves up as it is.
 *
 * @param {string} content hex of 32 bytes, with 0x
 */
export function leaf(content) {
  return keccak256(keccak256(content));
}

/** @param {string} a @param {string} b */
function pair(a, b) {
  return keccak256(concat(a < b ? [a, b] : [b, a]));
}

/**
 * All levels, from the leaves to the root.
 *
 * @param {string[]} leaves at least one
 * @returns {string[][]}
 */
export function tree(leaves) {
  if (leaves.length === 0) throw new RangeError('a tree without leaves');
  const levels = [leaves];
  for (let level = leaves; level.length > 1;) {
    const above = [];
    for (let i = 0; i < level.length; i += 2) {
      above.push(i + 1 < level.length ? pair(level[i], level[i + 1]) : level[i]);
    }
    levels.push(above);
    level = above;
  }
  return levels;
}

/** @param {string[][]} levels @returns {string} */
export function root(levels) {
  return levels[levels.length - 1][0];
}

/**
 * @param {string[][]} levels
 * @param {number} index of the leaf
 * @returns {string[]} the partner on each level that has one
 */
export function proof(levels, index) {
  const path = [];
  for (const level of levels.slice(0, -1)) {
    const partner = index ^ 1;
    if (partner < level.length) path.push(level[partner]);
    index >>= 1;
  }
  return path;
}

/** @param {string} start the leaf @param {string[]} path @param {string} expected the root */
export function isProven(start, path, expected) {
  return path.reduce((hash, partner) => pair(hash, partner), start) === expected;
}
