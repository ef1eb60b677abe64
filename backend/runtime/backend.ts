import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import type * as tfjs from "@tensorflow/tfjs";
import { HeadscopeError } from "../common/errors.ts";
import { registerGradients } from "./gradients.ts";
import { loadNative, nativeBackend } from "./native.ts";
import { useTf } from "./tf.ts";

/** The tfjs backends, in the order in which they are tried. */
const BACKENDS = ["tensorflow", "wasm"] as const;
export type BackendName = (typeof BACKENDS)[number];

/** The backend in use and the reason for it; `others` says why an earlier one was passed over. */
export interface BackendChoice {
  name: BackendName;
  why: string;
  /** Version of the TensorFlow library behind the native binding. */
  library?: string;
  /** Captured functions are compiled (the native binding carries our patch). */
  functions: boolean;
  threads: number;
}

const require = createRequire(import.meta.url);
let choice: Promise<BackendChoice> | undefined;

/**
 * Chooses the tfjs backend once for this process: the native binding, else wasm.
 * HEADSCOPE_BACKEND forces one of them.
 * @throws HeadscopeError when the forced backend is unknown or can't be had, saying how to get it
 */
export function initBackend(): Promise<BackendChoice> {
  choice ??= choose().then((choice) => {
    registerGradients();
    return choice;
  });
  return choice;
}

async function choose(): Promise<BackendChoice> {
  const forced = process.env["HEADSCOPE_BACKEND"];
  if (forced && !(BACKENDS as readonly string[]).includes(forced)) {
    throw new HeadscopeError("usage", `HEADSCOPE_BACKEND is "${forced}"`, {
      remedy: `set it to one of ${BACKENDS.join(", ")}, or unset it`,
    });
  }
  let passedOver = "";
  if (forced !== "wasm") {
    try {
      return await startNative(forced ? "HEADSCOPE_BACKEND asks for it" : "the native binding is built");
    } catch (error) {
      passedOver = firstLine(error);
      if (forced === "tensorflow") {
        throw new HeadscopeError("missing", `the tensorflow backend can't be loaded: ${passedOver}`, {
          remedy:
            "run npm start to build it (needs python3 with pip and g++ on Linux x86-64), or unset HEADSCOPE_BACKEND",
          cause: error,
        });
      }
    }
  }
  return startWasm(forced ? "HEADSCOPE_BACKEND asks for it" : `no native binding: ${passedOver}`);
}

async function startNative(why: string): Promise<BackendChoice> {
  const tf = loadNative();
  await tf.ready();
  useTf(tf);
  const binding = nativeBackend(tf)?.binding;
  if (!binding) throw new Error("tfjs-node-gpu loaded without its backend");
  return {
    name: "tensorflow",
    why,
    library: binding.TF_Version,
    functions: typeof binding.defineFunction === "function",
    threads: availableParallelism(),
  };
}

async function startWasm(why: string): Promise<BackendChoice> {
  const tf = require("@tensorflow/tfjs") as typeof tfjs;
  const wasm = require("@tensorflow/tfjs-backend-wasm") as typeof import("@tensorflow/tfjs-backend-wasm");
  wasm.setWasmPaths(join(dirname(require.resolve("@tensorflow/tfjs-backend-wasm")), "/"));
  if (!(await tf.setBackend("wasm"))) {
    throw new HeadscopeError("missing", "neither the native nor the wasm backend of tfjs starts", {
      remedy: "reinstall the dependencies with npm ci",
    });
  }
  await tf.ready();
  useTf(tf);
  return { name: "wasm", why, functions: false, threads: 1 };
}

function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  if (text.includes("tfjs_binding.node) can not be found")) return "it is not built on this machine";
  return text.split("\n")[0]!.replace(/[.\s]+$/, "");
}
