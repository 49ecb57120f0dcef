// Its own routes, and one that asks who is calling.
import { createServer } from "node:http";
import { fromNodeHeaders, toNodeHandler } from "better-auth/node";
import { auth } from "./auth.mjs";

const routes = toNodeHandler(auth);

async function answer(request, response) {
  if (request.url !== "/verify") {
    await routes(request, response);
    return;
  }
  const session = await auth.api.getSession({ headers: fromNodeHeaders(request.headers) });
  if (session === null) {
    response.writeHead(401).end();
  } else {
    response.writeHead(204, { "X-Auth-Subject": session.user.id }).end();
  }
}

createServer((request, response) => {
  answer(request, response).catch((error) => {
    console.error(error);
    response.writeHead(500).end();
  });
}).listen(Number(process.env.BENCH_PORT), "127.0.0.1");
