#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// Makes services/exchange-connectors/recorded.jsonl: what three venues say about two symbols, each
// in its own format. The walk has a fixed seed, so it makes the same file again on any machine.
import { writeFileSync } from 'node:fs';

const target = process.argv[2] ?? new URL('../services/exchange-connectors/recorded.jsonl', import.meta.url);
const STEPS = 40;
const START = Date.UTC(2026, 0, 2, 3, 4, 5);

let state = 20260102;
/** A linear congruential generator, as in Numerical Recipes. @returns {number} from -1 to 1 */
function random() {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 31 - 1;
}

const markets = [{ base: 'BTC', cents: 9_500_000 }, { base: 'ETH', cents: 300_000 }];
const lines = [];
for (let step = 0; step < STEPS; step += 1) {
  for (const market of markets) {
    market.cents += Math.round(market.cents * 0.002 * random());
    const time = START + step * 1000;
    const price = () => ((market.cents + Math.round(market.cents * 0.0002 * random())) / 100).toFixed(2);
    lines.push(
      { venue: 'atlas', message: { type: 'ticker', product_id: `${market.base}-USD`, price: price(), time: new Date(time).toISOString() } },
      { venue: 'boreal', message: { e: 'trade', s: `${market.base}USD`, p: `${price()}000000`, T: time } },
      { venue: 'cobalt', message: [42, [[price(), '0.25', `${time / 1000}.000000`]], 'trade', `${market.base}/USD`] },
    );
  }
}
writeFileSync(target, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
