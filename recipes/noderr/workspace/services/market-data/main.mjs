// SPDX-License-Identifier: Apache-2.0
import { serve } from '@noderr/runtime/serve.mjs';
import { integer } from '@noderr/runtime/settings.mjs';
import { walletSettings } from '@noderr/runtime/wallet.mjs';
import { createMetrics } from './metrics.mjs';
import { addRoutes } from './routes.mjs';
import { PriceWindow } from './window.mjs';

await serve('market-data', {
  settings: {
    MAX_AGE_MS: { default: '60000', parse: integer(1, 86_400_000) },
    MAX_SYMBOLS: { default: '100', parse: integer(1, 10_000) },
    MAX_SOURCES: { default: '20', parse: integer(1, 1_000) },
    ...walletSettings,
  },
  setup({ env, log, app, registry }) {
    const window = new PriceWindow({
      maxAgeMs: env.MAX_AGE_MS,
      maxSymbols: env.MAX_SYMBOLS,
      maxSources: env.MAX_SOURCES,
    });
    const wallet = env.WALLET_PRIVATE_KEY;
    const { countObservation } = createMetrics(registry, window);
    addRoutes(app, { nodeId: env.NODE_ID, window, wallet, countObservation });
    log.info(wallet ? 'answers are signed' : 'no key given, answers are not signed', { signer: wallet?.address });
  },
});
