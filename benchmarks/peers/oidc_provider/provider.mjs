// oidc-provider with rotation, and a small PostgreSQL adapter of its documented interface.
import { Provider } from "oidc-provider";
import pg from "pg";

export const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 });
const SECONDS = Number(process.env.BENCH_ACCESS_SECONDS);

class PostgresAdapter {
  constructor(name) {
    this.name = name;
  }

  async upsert(id, payload, expiresIn) {
    await pool.query({
      name: "upsert",
      text: `INSERT INTO oidc_payloads (id, type, payload, grant_id, user_code, uid, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, now() + $7 * interval '1 second')
             ON CONFLICT (id, type) DO UPDATE SET payload = excluded.payload,
               grant_id = excluded.grant_id, user_code = excluded.user_code, uid = excluded.uid,
               expires_at = excluded.expires_at`,
      values: [id, this.name, payload, payload.grantId, payload.userCode, payload.uid, expiresIn],
    });
  }

  async #found(name, column, value) {
    const { rows } = await pool.query({
      name,
      text: `SELECT payload, consumed_at FROM oidc_payloads WHERE ${column} = $1 AND type = $2
             AND (expires_at IS NULL OR expires_at > now())`,
      values: [value, this.name],
    });
    if (rows.length === 0) return undefined;
    return { ...rows[0].payload, ...(rows[0].consumed_at && { consumed: true }) };
  }

  find(id) {
    return this.#found("find", "id", id);
  }

  findByUserCode(userCode) {
    return this.#found("find_by_user_code", "user_code", userCode);
  }

  findByUid(uid) {
    return this.#found("find_by_uid", "uid", uid);
  }

  async consume(id) {
    await pool.query({
      name: "consume",
      text: "UPDATE oidc_payloads SET consumed_at = now() WHERE id = $1 AND type = $2",
      values: [id, this.name],
    });
  }

  async destroy(id) {
    const text = "DELETE FROM oidc_payloads WHERE id = $1 AND type = $2";
    await pool.query({ name: "destroy", text, values: [id, this.name] });
  }

  async revokeByGrantId(grantId) {
    const text = "DELETE FROM oidc_payloads WHERE grant_id = $1";
    await pool.query({ name: "revoke", text, values: [grantId] });
  }
}

async function findAccount(_, id) {
  const text = "SELECT id FROM users WHERE id = $1 AND active";
  const { rows } = await pool.query({ name: "account", text, values: [id] });
  if (rows.length === 0) return undefined;
  return { accountId: id, claims: async () => ({ sub: id }) };
}

export const provider = new Provider(`http://127.0.0.1:${process.env.BENCH_PORT}`, {
  adapter: PostgresAdapter,
  clients: [
    {
      client_id: "bench",
      token_endpoint_auth_method: "none",
      application_type: "native",
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
      redirect_uris: ["http://127.0.0.1/callback"],
    },
  ],
  cookies: { keys: [process.env.BENCH_SECRET] },
  features: { devInteractions: { enabled: false } },
  findAccount,
  rotateRefreshToken: true,
  ttl: { AccessToken: SECONDS, RefreshToken: 7 * 86400, Grant: 30 * 86400, IdToken: SECONDS },
});
