// Tokens bound to a key of the client (RFC 9449), where the server says that it binds them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as oauth from 'oauth4webapi';
import {
  introspect,
  logIn,
  me,
  noSecret,
  plainHttp,
  publicClient,
  refresh,
  server,
} from './keyturn.mjs';

const offered = server.dpop_signing_alg_values_supported ?? [];

/** What asks once more if the server wants its nonce in the proof (RFC 9449 §8, §9). */
async function withNonce(ask) {
  try {
    return await ask();
  } catch (error) {
    if (!oauth.isDPoPNonceError(error)) throw error;
    return ask();
  }
}

async function prover(name) {
  return oauth.DPoP(publicClient, await oauth.generateKeyPair(name));
}

function call(token, DPoP) {
  return oauth.protectedResourceRequest(token, 'GET', me, undefined, undefined, {
    ...plainHttp,
    ...(DPoP ? { DPoP } : {}),
  });
}

for (const name of ['ES256', 'EdDSA', 'RS256', 'PS256']) {
  const skip = offered.includes(name) ? false : 'the server does not offer it';
  test(`tokens are bound to a key of ${name} and work with it alone`, { skip }, async () => {
    const DPoP = await prover(name);
    const first = await withNonce(() => logIn(publicClient, noSecret, {}, { DPoP }));
    assert.equal(first.token_type, 'dpop');
    const second = await withNonce(() =>
      refresh(publicClient, noSecret, first.refresh_token, { DPoP }),
    );
    assert.equal(second.token_type, 'dpop');
    assert.equal((await withNonce(() => call(second.access_token, DPoP))).status, 200);
    const told = await introspect(second.access_token);
    assert.equal(told.cnf.jkt, await DPoP.calculateThumbprint());

    await assert.rejects(call(second.access_token), { code: oauth.WWW_AUTHENTICATE_CHALLENGE });
    const thief = await prover(name);
    await assert.rejects(withNonce(() => call(second.access_token, thief)), {
      code: oauth.WWW_AUTHENTICATE_CHALLENGE,
    });
    await assert.rejects(
      withNonce(() => refresh(publicClient, noSecret, second.refresh_token, { DPoP: thief })),
    );
    await assert.rejects(refresh(publicClient, noSecret, second.refresh_token));
    await withNonce(() => refresh(publicClient, noSecret, second.refresh_token, { DPoP }));
  });
}
