import { SetupError } from "../failure.mjs";
import { compareVersions } from "../native/machine.mjs";

/** @import { Step } from "../runner.mjs" */

/** Oldest Node.js that headscope runs on; the same as `engines` in package.json. */
export const OLDEST = "20.19.0";

/** @type {Step} */
export const nodeVersion = {
  name: "Node.js",
  needed: () => (compareVersions(process.versions.node, OLDEST) >= 0 ? false : `this is ${process.versions.node}`),
  async run() {
    throw new SetupError(
      "unsupported",
      `this is Node.js ${process.versions.node}, headscope needs ${OLDEST} or later`,
      { remedy: "install a current Node.js and run the command again" },
    );
  },
};
