// SPDX-License-Identifier: Apache-2.0

/** @typedef {{ symbol: string, price: string, observedAt: number }} Tick */

/**
 * Each venue has a way of its own to say "ETH costs 3000.5 dollars". A parser takes one message as
 * the venue sends it and gives a tick, or undefined for a message about something else. A message
 * that breaks the venue's own format is an error. Prices stay text from end to end.
 *
 * @type {Record<string, (message: any) => Tick | undefined>}
 */
export const venues = {
  /** `{"type":"ticker","product_id":"ETH-USD","price":"3000.5","time":"2026-01-02T03:04:05.006Z"}` */
  atlas(message) {
    if (message?.type !== 'ticker') return undefined;
    return tick(message.product_id, message.price, Date.parse(message.time));
  },

  /** `{"e":"trade","s":"ETHUSD","p":"3000.50000000","T":1767323045006}` */
  boreal(message) {
    if (message?.e !== 'trade') return undefined;
    const [, base] = /^([A-Z0-9]{2,9})USD$/.exec(message.s) ?? [];
    return tick(base && `${base}-USD`, message.p, message.T);
  },

  /** `[42,[["3000.5","0.25","1767323045.006100"]],"trade","ETH/USD"]`, the last trade counts */
  cobalt(message) {
    if (!Array.isArray(message) || message[2] !== 'trade') return undefined;
    const [price, , seconds] = message[1]?.at?.(-1) ?? [];
    return tick(String(message[3]).replace('/', '-'), price, Math.round(Number(seconds) * 1000));
  },
};

/**
 * @param {unknown} symbol
 * @param {unknown} price
 * @param {unknown} observedAt
 * @returns {Tick}
 */
function tick(symbol, price, observedAt) {
  if (typeof symbol !== 'string' || !/^[A-Z0-9]{2,9}-USD$/.test(symbol)) throw new Error('no symbol');
  if (typeof price !== 'string' || !/^\d{1,15}(\.\d{1,18})?$/.test(price)) throw new Error('no price');
  if (typeof observedAt !== 'number' || !Number.isSafeInteger(observedAt)) throw new Error('no time');
  return { symbol, price: canonical(price), observedAt };
}

/** 03000.500 and 3000.5 are one price; market-data takes the second spelling. @param {string} price */
function canonical(price) {
  const [whole, decimals = ''] = price.split('.');
  const left = whole.replace(/^0+(?=\d)/, '');
  const right = decimals.replace(/0+$/, '');
  return right ? `${left}.${right}` : left;
}
