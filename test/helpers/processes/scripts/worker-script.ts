// A parent of a worker, to be killed by the tests: worker-script.mjs HANDLERS KIND
import { Worker } from "../../../../backend/jobs/client.ts";

const [, , handlers, kind] = process.argv;
const worker = new Worker({ handlers: handlers! });
console.log(await worker.request("pid", null));
await worker.request(kind!, null);
