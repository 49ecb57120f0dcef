// Its own routes.
import { provider } from "./provider.mjs";

provider.on("server_error", (_, error) => console.error(error));
provider.listen(Number(process.env.BENCH_PORT), "127.0.0.1");
