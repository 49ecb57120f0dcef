// better-auth as its documentation sets it up, with e-mail and password and bearer tokens.
import { hash, verify } from "@node-rs/argon2";
import { betterAuth } from "better-auth";
import { bearer } from "better-auth/plugins";
import pg from "pg";

const [timeCost, memoryCost, parallelism] = process.env.BENCH_ARGON2.split(",").map(Number);

export const hashPassword = (password) => hash(password, { timeCost, memoryCost, parallelism });
export const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 });

export const auth = betterAuth({
  baseURL: `http://127.0.0.1:${process.env.BENCH_PORT}`,
  secret: process.env.BENCH_SECRET,
  database: pool,
  emailAndPassword: {
    enabled: true,
    // The parameters that everybody uses here, instead of its own scrypt.
    password: { hash: hashPassword, verify: (data) => verify(data.hash, data.password) },
  },
  plugins: [bearer()],
  rateLimit: { enabled: false },
  telemetry: { enabled: false },
  logger: { level: "error" },
});
