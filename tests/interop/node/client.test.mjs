// An OAuth client: what RFC 6749, 6750, 7009, 7662 and 8414 promise it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as oauth from 'oauth4webapi';
import {
  introspect,
  issuer,
  logIn,
  me,
  noSecret,
  notesClient,
  notesSecret,
  plainHttp,
  publicClient,
  refresh,
  revoke,
  server,
} from './keyturn.mjs';

test('the metadata tell every endpoint', () => {
  assert.equal(server.issuer, issuer.href.replace(/\/$/, ''));
  for (const name of ['token', 'revocation', 'introspection']) {
    assert.ok(server[`${name}_endpoint`].startsWith(server.issuer), name);
  }
  assert.ok(server.jwks_uri.startsWith(server.issuer));
  assert.ok(server.grant_types_supported.includes('refresh_token'));
});

test('a public client logs in, refreshes and calls', async () => {
  const first = await logIn(publicClient, noSecret);
  assert.equal(first.token_type, 'bearer');
  assert.ok(first.expires_in > 0);
  const second = await refresh(publicClient, noSecret, first.refresh_token);
  assert.notEqual(second.refresh_token, first.refresh_token);
  const answer = await oauth.protectedResourceRequest(
    second.access_token,
    'GET',
    me,
    undefined,
    undefined,
    plainHttp,
  );
  assert.equal(answer.status, 200);
});

test('a client with a secret gets a scope and may only narrow it', async () => {
  const first = await logIn(notesClient, notesSecret, { scope: 'profile:read profile:write' });
  assert.deepEqual(first.scope.split(' ').sort(), ['profile:read', 'profile:write']);
  const narrowed = await refresh(notesClient, notesSecret, first.refresh_token, {
    additionalParameters: { scope: 'profile:read' },
  });
  assert.equal(narrowed.scope, 'profile:read');
  await assert.rejects(
    refresh(notesClient, notesSecret, narrowed.refresh_token, {
      additionalParameters: { scope: 'users:read' },
    }),
    { code: oauth.RESPONSE_BODY_ERROR, error: 'invalid_scope', status: 400 },
  );
});

test('errors are told as the client expects them', async () => {
  await assert.rejects(logIn(publicClient, noSecret, { password: 'not this one at all' }), {
    code: oauth.RESPONSE_BODY_ERROR,
    error: 'invalid_grant',
    status: 400,
  });
  await assert.rejects(refresh(publicClient, noSecret, 'nonsense'), {
    code: oauth.RESPONSE_BODY_ERROR,
    error: 'invalid_grant',
  });
  await assert.rejects(logIn(notesClient, oauth.ClientSecretBasic('a wrong secret: +/%&')), (e) => {
    assert.equal(e.code, oauth.WWW_AUTHENTICATE_CHALLENGE);
    assert.equal(e.status, 401);
    assert.equal(e.cause[0].scheme, 'basic');
    return true;
  });
});

test('a refresh token works only for the client that it was issued to', async () => {
  const { refresh_token: token } = await logIn(notesClient, notesSecret);
  await assert.rejects(refresh(publicClient, noSecret, token), { error: 'invalid_grant' });
  assert.ok((await refresh(notesClient, notesSecret, token)).access_token);
});

test('a token that a resource refuses is told why', async () => {
  await assert.rejects(
    oauth.protectedResourceRequest('nonsense', 'GET', me, undefined, undefined, plainHttp),
    (e) => {
      assert.equal(e.code, oauth.WWW_AUTHENTICATE_CHALLENGE);
      assert.equal(e.status, 401);
      assert.equal(e.cause[0].scheme, 'bearer');
      assert.equal(e.cause[0].parameters.error, 'invalid_token');
      return true;
    },
  );
});

test('introspection tells what a good token is worth', async () => {
  const tokens = await logIn(publicClient, noSecret, { scope: 'profile:read' });
  const told = await introspect(tokens.access_token);
  assert.equal(told.active, true);
  assert.equal(told.iss, server.issuer);
  assert.equal(told.aud, 'keyturn');
  assert.equal(told.client_id, 'keyturn');
  assert.equal(told.scope, 'profile:read');
  assert.equal(told.token_type, 'Bearer');
  for (const name of ['sub', 'jti', 'sid']) assert.equal(typeof told[name], 'string', name);
  for (const name of ['exp', 'iat']) assert.ok(Number.isInteger(told[name]), name);
});

test('what was revoked is good for nothing', async () => {
  const tokens = await logIn(publicClient, noSecret);
  await revoke(publicClient, noSecret, tokens.refresh_token, 'refresh_token');
  assert.deepEqual(await introspect(tokens.access_token), { active: false });
  assert.deepEqual(await introspect(tokens.refresh_token), { active: false });
  await assert.rejects(refresh(publicClient, noSecret, tokens.refresh_token), {
    error: 'invalid_grant',
  });
});

test('an access token is revoked alone, whatever the hint says', async () => {
  const tokens = await logIn(publicClient, noSecret);
  await revoke(publicClient, noSecret, tokens.access_token, 'refresh_token');
  assert.deepEqual(await introspect(tokens.access_token), { active: false });
  assert.ok((await refresh(publicClient, noSecret, tokens.refresh_token)).access_token);
});

test('to revoke an unknown token is no error', async () => {
  await revoke(publicClient, noSecret, 'nonsense');
  assert.deepEqual(await introspect('nonsense'), { active: false });
});
