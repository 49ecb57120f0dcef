// Makes the tables and the users.
import { getMigrations } from "better-auth/db/migration";
import { auth, hashPassword, pool } from "./auth.mjs";

const { runMigrations } = await getMigrations(auth.options);
await runMigrations();
const { internalAdapter } = await auth.$context;
const password = await hashPassword(process.env.BENCH_PASSWORD);
for (let number = 0; number < Number(process.env.BENCH_USERS); number += 1) {
  const email = `user${number}@example.com`;
  const user = await internalAdapter.createUser({ email, name: email, emailVerified: true });
  await internalAdapter.linkAccount({
    userId: user.id,
    providerId: "credential",
    accountId: user.id,
    password,
  });
}
await pool.end();
