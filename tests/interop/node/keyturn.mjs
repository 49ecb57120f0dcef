// What every script here needs: the server that runs, and ways to get tokens of it.

import * as oauth from 'oauth4webapi';

function variable(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}

export const issuer = new URL(variable('ISSUER'));
export const algorithm = variable('ALGORITHM');
export const person = { username: variable('EMAIL'), password: variable('PASSWORD') };

/** The server under test has no TLS; the library wants to be asked to put up with that. */
export const plainHttp = { [oauth.allowInsecureRequests]: true };

export const publicClient = { client_id: 'keyturn' };
export const notesClient = { client_id: 'notes' };
export const noSecret = oauth.None();
export const notesSecret = oauth.ClientSecretBasic(variable('CLIENT_SECRET'));

export const server = await oauth.processDiscoveryResponse(
  issuer,
  await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...plainHttp }),
);

export const me = new URL('/v1/users/me', issuer);

export async function logIn(client, proof, parameters = {}, options = {}) {
  const response = await oauth.genericTokenEndpointRequest(
    server,
    client,
    proof,
    'password',
    { ...person, ...parameters },
    { ...plainHttp, ...options },
  );
  return oauth.processGenericTokenEndpointResponse(server, client, response);
}

export async function refresh(client, proof, token, options = {}) {
  const response = await oauth.refreshTokenGrantRequest(server, client, proof, token, {
    ...plainHttp,
    ...options,
  });
  return oauth.processRefreshTokenResponse(server, client, response);
}

export async function revoke(client, proof, token, hint) {
  const response = await oauth.revocationRequest(server, client, proof, token, {
    ...plainHttp,
    additionalParameters: hint ? { token_type_hint: hint } : {},
  });
  return oauth.processRevocationResponse(response);
}

export async function introspect(token) {
  const response = await oauth.introspectionRequest(
    server,
    notesClient,
    notesSecret,
    token,
    plainHttp,
  );
  return oauth.processIntrospectionResponse(server, notesClient, response);
}
