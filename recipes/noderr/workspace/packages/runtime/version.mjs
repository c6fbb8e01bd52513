// SPDX-License-Identifier: Apache-2.0

const PATTERN = /^(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:-([0-9A-Za-z.-]+))?$/;

/**
 * Which of two versions is newer, by the rules of Semantic Versioning.
 *
 * @param {string} a
 * @param {string} b
 * @returns {number} below, equal to or above 0, as for Array.sort
 */
export function compareVersions(a, b) {
  const [left, right] = [parse(a), parse(b)];
  for (let i = 0; i < 3; i += 1) {
    if (left.numbers[i] !== right.numbers[i]) return left.numbers[i] - right.numbers[i];
  }
  // A version without a pre-release is newer than the same one with it.
  if (!left.pre.length || !right.pre.length) return right.pre.length - left.pre.length;
  for (let i = 0; i < Math.min(left.pre.length, right.pre.length); i += 1) {
    const order = comparePart(left.pre[i], right.pre[i]);
    if (order !== 0) return order;
  }
  return left.pre.length - right.pre.length;
}

/** @param {string} a @param {string} b */
function comparePart(a, b) {
  const [left, right] = [/^\d+$/.test(a), /^\d+$/.test(b)];
  if (left && right) return Number(a) - Number(b);
  if (left !== right) return left ? -1 : 1; // numbers come before words
  return a < b ? -1 : a > b ? 1 : 0;
}

/** @param {string} text */
function parse(text) {
  const found = PATTERN.exec(text);
  if (!found) throw new Error(`${JSON.stringify(text)} is not a version`);
  return { numbers: found.slice(1, 4).map(Number), pre: found[4]?.split('.') ?? [] };
}
