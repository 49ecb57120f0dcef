// Makes the tables, and the tokens that its interactions would have led to, and prints them.
import { pool, provider } from "./provider.mjs";

await pool.query(`
  CREATE TABLE users (id text PRIMARY KEY, active boolean NOT NULL);
  CREATE TABLE oidc_payloads (
    id text NOT NULL, type text NOT NULL, payload jsonb NOT NULL, grant_id text, user_code text,
    uid text, expires_at timestamptz, consumed_at timestamptz, PRIMARY KEY (id, type));
  CREATE INDEX ON oidc_payloads (grant_id);
  CREATE INDEX ON oidc_payloads (uid);
`);
const client = await provider.Client.find("bench");
const made = { access_tokens: [], refresh_tokens: [] };
for (let number = 0; number < Number(process.env.BENCH_CHAINS); number += 1) {
  const accountId = `user${number}`;
  await pool.query("INSERT INTO users VALUES ($1, true)", [accountId]);
  const grant = new provider.Grant({ accountId, clientId: "bench" });
  grant.addOIDCScope("openid offline_access");
  const common = { accountId, client, grantId: await grant.save(), gty: "authorization_code" };
  // Without `openid` a refresh signs no id token, which nobody else hands out either.
  const refresh = new provider.RefreshToken({ ...common, scope: "offline_access", rotations: 0 });
  made.refresh_tokens.push(await refresh.save());
  const access = new provider.AccessToken({ ...common, scope: "openid" });
  made.access_tokens.push(await access.save());
}
await pool.end();
process.stdout.write(JSON.stringify(made));
