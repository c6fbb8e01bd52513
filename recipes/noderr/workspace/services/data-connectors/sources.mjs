// SPDX-License-Identifier: Apache-2.0
import { httpUrl } from '@noderr/runtime/settings.mjs';

/** @typedef {{ name: string, url: URL }} Source */

/**
 * Parse `name=url,name=url`; `bundled:FILE` names a file that comes with the service.
 *
 * @param {string} text
 * @returns {Source[]}
 */
export function parseSources(text) {
  const sources = text.split(',').map((item) => {
    const [, name, url] = /^\s*([a-z0-9][a-z0-9-]{0,62})=(\S+)\s*$/.exec(item) ?? [];
    if (!name) throw new Error('must be a list like gas=https://data.example/gas.csv');
    if (/^bundled:[a-z0-9-]+\.csv$/.test(url)) return { name, url: new URL(url) };
    try {
      return { name, url: new URL(httpUrl(url)) };
    } catch (error) {
      throw new Error(`entry ${name}: ${/** @type {Error} */ (error).message}`);
    }
  });
  const names = sources.map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice) throw new Error(`names ${twice} twice`);
  return sources;
}
