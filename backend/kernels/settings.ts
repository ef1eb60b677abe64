import { availableParallelism } from "node:os";
import { HeadscopeError } from "../common/errors.ts";
import { oneOf, type Rule, whole } from "../common/options.ts";

/** Most threads that the kernels may be given. */
const MOST_THREADS = 256;

/** Numbers of threads that can be. */
export const THREADS: Rule = whole(1, MOST_THREADS);

/** The environment's wishes about the kernels. */
export interface KernelSettings {
  /** False with HEADSCOPE_KERNELS=off. */
  readonly wanted: boolean;
  /** HEADSCOPE_THREADS, else the processors that this process may use. */
  readonly threads: number;
}

/**
 * Reads HEADSCOPE_KERNELS (on, off; default on) and HEADSCOPE_THREADS (1 to 256).
 * @throws HeadscopeError (usage) for other values
 */
export function kernelSettings(env: NodeJS.ProcessEnv = process.env): KernelSettings {
  const { HEADSCOPE_KERNELS: kernels, HEADSCOPE_THREADS: threads } = env;
  if (kernels) insist("HEADSCOPE_KERNELS", kernels, kernels, oneOf(["on", "off"]));
  if (threads) insist("HEADSCOPE_THREADS", threads, /^\d+$/.test(threads) && Number(threads), THREADS);
  return {
    wanted: kernels !== "off",
    threads: threads ? Number(threads) : Math.min(availableParallelism(), MOST_THREADS),
  };
}

function insist(name: string, text: string, value: unknown, rule: Rule): void {
  if (rule.fits(value)) return;
  throw new HeadscopeError("usage", `${name} cannot be "${text}"`, { remedy: `set it to ${rule.wants}, or unset it` });
}
