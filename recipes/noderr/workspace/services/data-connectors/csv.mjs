// SPDX-License-Identifier: Apache-2.0

/** A data set is small by nature; a longer one is a mistake of its source. */
export const MAX_ROWS = 10_000;

/**
 * Strict CSV (RFC 4180): every row as long as the head, no quote in the middle of a field.
 *
 * @param {string} text
 * @returns {Record<string, string>[]}
 */
export function parseCsv(text) {
  const rows = splitRows(text);
  const head = rows.shift() ?? [];
  if (head.length === 0 || head.includes('')) throw new Error('line 1: every column needs a name');
  if (new Set(head).size !== head.length) throw new Error('line 1: two columns have one name');
  if (rows.length > MAX_ROWS) throw new Error(`more than ${MAX_ROWS} rows`);
  return rows.map((row, index) => {
    if (row.length !== head.length) {
      throw new Error(`row ${index + 1}: ${row.length} fields where the head has ${head.length}`);
    }
    return Object.fromEntries(head.map((name, column) => [name, row[column]]));
  });
}

/** @param {string} text @returns {string[][]} */
function splitRows(text) {
  const rows = [];
  let row = [];
  // A field, quoted or not, and what ends it. The quoted form may hold line breaks.
  const field = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/gy;
  while (field.lastIndex < text.length) {
    const start = field.lastIndex;
    const found = field.exec(text);
    if (!found) throw new Error(`character ${start + 1}: a quote where none may be`);
    row.push(found[1] === undefined ? found[2] : found[1].replaceAll('""', '"'));
    if (found[3] === ',') {
      if (field.lastIndex === text.length) row.push(''); // the comma was the last character
      else continue;
    }
    rows.push(row);
    row = [];
  }
  return rows;
}
