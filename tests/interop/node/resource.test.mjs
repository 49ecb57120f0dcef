// A service in another language: it knows the issuer's URL, and verifies by the published keys.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { calculateJwkThumbprint, createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from 'jose';
import * as oauth from 'oauth4webapi';
import {
  algorithm,
  logIn,
  noSecret,
  plainHttp,
  publicClient,
  refresh,
  server,
} from './keyturn.mjs';

const audience = 'keyturn';
const keys = createRemoteJWKSet(new URL(server.jwks_uri));
const tokens = await logIn(publicClient, noSecret);

function asked(token, scheme = 'Bearer') {
  return new Request('https://notes.example.com/', {
    headers: { authorization: `${scheme} ${token}` },
  });
}

const wanted = { issuer: server.issuer, audience, typ: 'at+jwt', algorithms: [algorithm] };

test('oauth4webapi takes an access token for one of RFC 9068', async () => {
  const claims = await oauth.validateJwtAccessToken(
    server,
    asked(tokens.access_token),
    audience,
    plainHttp,
  );
  assert.equal(claims.iss, server.issuer);
  assert.equal(claims.client_id, 'keyturn');
  assert.deepEqual(claims.roles, ['user']);
});

test('oauth4webapi takes no token for another audience, and no refresh token', async () => {
  await assert.rejects(
    oauth.validateJwtAccessToken(server, asked(tokens.access_token), 'bank', plainHttp),
    { code: oauth.JWT_CLAIM_COMPARISON },
  );
  await assert.rejects(
    oauth.validateJwtAccessToken(server, asked(tokens.refresh_token), server.issuer, plainHttp),
    { code: oauth.INVALID_RESPONSE },
  );
});

test('jose verifies by the published keys, with the algorithm that was set', async () => {
  const { payload, protectedHeader } = await jwtVerify(tokens.access_token, keys, {
    ...wanted,
    requiredClaims: ['iat', 'exp', 'sub', 'jti', 'sid', 'epoch', 'client_id'],
  });
  assert.equal(protectedHeader.alg, algorithm);
  assert.equal(payload.type, 'access');
});

test('jose verifies what a refresh hands out', async () => {
  const next = await refresh(publicClient, noSecret, tokens.refresh_token);
  const { payload } = await jwtVerify(next.access_token, keys, wanted);
  const before = await jwtVerify(tokens.access_token, keys, wanted);
  assert.equal(payload.sid, before.payload.sid);
  assert.notEqual(payload.jti, before.payload.jti);
});

test('jose refuses a signature of another token, and a refresh token', async () => {
  const other = await logIn(publicClient, noSecret);
  const [header, payload] = tokens.access_token.split('.');
  const forged = [header, payload, other.access_token.split('.')[2]].join('.');
  await assert.rejects(jwtVerify(forged, keys, wanted), {
    code: 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED',
  });
  await assert.rejects(jwtVerify(other.refresh_token, keys, wanted), {
    code: 'ERR_JWT_CLAIM_VALIDATION_FAILED',
  });
});

test('a key is published under its thumbprint, without its private half', async () => {
  const answer = await fetch(server.jwks_uri);
  const published = (await answer.json()).keys;
  const { kid } = decodeProtectedHeader(tokens.access_token);
  const key = published.find((each) => each.kid === kid);
  assert.equal(kid, await calculateJwkThumbprint(key));
  assert.equal(key.alg, algorithm);
  assert.equal(key.use, 'sig');
  for (const secret of ['d', 'p', 'q', 'dp', 'dq', 'qi', 'k']) {
    assert.ok(!(secret in key), secret);
  }
});
