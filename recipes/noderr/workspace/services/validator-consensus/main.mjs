// SPDX-License-Identifier: Apache-2.0
import { createPublicKey, createPrivateKey, generateKeyPairSync, hkdfSync, sign } from 'node:crypto';
import { Counter, Gauge } from 'prom-client';
import { ask, peerSettings } from '@noderr/runtime/peers.mjs';
import { repeat } from '@noderr/runtime/repeat.mjs';
import { httpError, serve } from '@noderr/runtime/serve.mjs';
import { integer } from '@noderr/runtime/settings.mjs';
import { openState, stateSettings, wholeNumber } from '@noderr/runtime/state.mjs';
import { walletSettings } from '@noderr/runtime/wallet.mjs';
import { attestationMessage, Rounds } from './rounds.mjs';
import { parseValidators } from './validators.mjs';

/** @import { Attestation, Outcome } from './rounds.mjs' */

const attestationSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['validator', 'round', 'block', 'signature'],
  properties: {
    validator: { type: 'string', pattern: '^[a-z0-9][a-z0-9-]{1,62}$' },
    round: { type: 'integer', minimum: 0, maximum: 2 ** 48 },
    block: { type: 'string', pattern: '^0x[0-9a-f]{64}$' },
    signature: { type: 'string', pattern: '^[0-9a-f]{128}$' },
  },
};

/** @type {Partial<Record<Outcome, [number, string]>>} */
const refusals = {
  unknown: [403, 'no such validator'],
  forged: [403, 'the signature is wrong'],
  excluded: [403, 'this validator is excluded'],
  double: [409, 'this validator attests two blocks in one round; it is excluded'],
  old: [409, 'this round is long over'],
};

/**
 * The key of this validator: always the same for the same wallet, else one for this run only.
 *
 * @param {import('ethers').Wallet | undefined} wallet
 */
function ownKey(wallet) {
  if (!wallet) return generateKeyPairSync('ed25519').privateKey;
  const seed = Buffer.from(hkdfSync('sha256', Buffer.from(wallet.privateKey.slice(2), 'hex'), '', 'noderr-validator-v1', 32));
  const prefix = Buffer.from('302e020100300506032b657004220420', 'hex'); // PKCS#8 around an Ed25519 seed
  return createPrivateKey({ key: Buffer.concat([prefix, seed]), format: 'der', type: 'pkcs8' });
}

await serve('validator-consensus', {
  settings: {
    ...peerSettings('on-chain-service'),
    ...walletSettings,
    ...stateSettings,
    VALIDATOR_STAKE: { default: '32', pattern: /^[1-9]\d{0,17}$/, parse: BigInt },
    VALIDATORS: { parse: parseValidators }, // the others
    ATTEST_INTERVAL_MS: { default: '4000', parse: integer(20, 600_000) },
  },
  setup({ env, log, app, registry, signal }) {
    const privateKey = ownKey(env.WALLET_PRIVATE_KEY);
    const publicKey = createPublicKey(privateKey);
    const validators = new Map(env.VALIDATORS);
    validators.set(env.NODE_ID, { stake: env.VALIDATOR_STAKE, publicKey });
    const rounds = new Rounds(validators);
    const attestations = new Counter({
      name: 'noderr_attestations_total',
      help: 'Attestations by outcome',
      labelNames: ['outcome'],
      registers: [registry],
    });
    new Gauge({
      name: 'noderr_justified_round',
      help: 'Highest round in which two thirds of the stake attest one block',
      registers: [registry],
      collect() {
        this.set(rounds.justified);
      },
    });

    /** @param {Attestation} attestation @returns {Outcome} */
    function add(attestation) {
      const outcome = rounds.add(attestation);
      attestations.inc({ outcome });
      if (outcome === 'double') log.warn('a validator attests two blocks', { ...attestation });
      return outcome;
    }

    app.get('/v1/validators', async () => ({
      total: rounds.total.toString(),
      validators: [...validators].map(([name, { stake, publicKey: key }]) => ({
        name, stake: stake.toString(),
        publicKey: Buffer.from(String(key.export({ format: 'jwk' }).x), 'base64url').toString('hex'),
      })),
    }));
    app.get('/v1/rounds/:round', async (request) => {
      const { round } = /** @type {{ round: string }} */ (request.params);
      return rounds.state(Number(round));
    });
    app.get('/v1/evidence', async () => ({ evidence: rounds.evidence() }));
    app.post('/v1/attestations', { schema: { body: attestationSchema } }, async (request, reply) => {
      const outcome = add(/** @type {Attestation} */ (request.body));
      const refusal = refusals[outcome];
      if (refusal) throw httpError(...refusal);
      return reply.code(outcome === 'counted' ? 201 : 200).send({ outcome });
    });

    // Kept before it is said: a validator that forgets what it said may say something else.
    const state = openState(env.STATE_DIR, 'attested', wholeNumber, -1);
    let attested = state.value;
    return () => repeat({
      what: 'attest the head',
      everyMs: env.ATTEST_INTERVAL_MS,
      signal,
      log,
      async task() {
        const { number: round, hash: block } = await ask(env.ON_CHAIN_SERVICE_URL, '/v1/head');
        if (round <= attested) return; // the head may change, but an honest validator speaks once
        attested = round;
        state.keep(round);
        const mine = { validator: env.NODE_ID, round, block };
        const signature = sign(null, attestationMessage(mine), privateKey).toString('hex');
        add({ ...mine, signature });
        log.info('attested', mine);
      },
    });
  },
});
