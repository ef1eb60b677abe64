import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { HeadscopeError } from "../../../common/errors.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** Address of the hub and token of the user: the environment variables of Python's huggingface_hub, read the same way. */
export interface HubSettings {
  /** HF_ENDPOINT, without a slash at the end. */
  readonly endpoint: string;
  /** HF_TOKEN, else what `hf auth login` left; undefined for open models. */
  readonly token: string | undefined;
  /** HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE: nothing is asked of the network. */
  readonly offline: boolean;
}

/** Folder of the cache that Python's huggingface_hub keeps: HF_HUB_CACHE, else `hub` in HF_HOME. */
export function hubCacheDir(env: Environment = process.env): string {
  return resolve(env["HF_HUB_CACHE"] || env["HUGGINGFACE_HUB_CACHE"] || join(home(env), "hub"));
}

/**
 * Reads the settings.
 * @throws HeadscopeError (usage) for an endpoint that is no address
 */
export function hubSettings(env: Environment = process.env): HubSettings {
  const endpoint = (env["HF_ENDPOINT"] || "https://huggingface.co").replace(/\/+$/, "");
  if (!/^https?:$/.test(URL.canParse(endpoint) ? new URL(endpoint).protocol : ""))
    throw new HeadscopeError("usage", `HF_ENDPOINT is "${endpoint}", which is no address of a hub`, {
      remedy: "give one that begins with https://, or unset it",
    });
  return {
    endpoint,
    token: tokenOf(env),
    offline: isTrue(env["HF_HUB_OFFLINE"]) || isTrue(env["TRANSFORMERS_OFFLINE"]),
  };
}

function home(env: Environment): string {
  return env["HF_HOME"] || join(env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "huggingface");
}

function isTrue(value: string | undefined): boolean {
  return /^(1|ON|YES|TRUE)$/i.test(value ?? "");
}

function tokenOf(env: Environment): string | undefined {
  const token = (env["HF_TOKEN"] || env["HUGGING_FACE_HUB_TOKEN"])?.trim();
  if (token) return token;
  if (isTrue(env["HF_HUB_DISABLE_IMPLICIT_TOKEN"])) return undefined;
  try {
    return readFileSync(env["HF_TOKEN_PATH"] || join(home(env), "token"), "utf8").trim() || undefined;
  } catch {
    return undefined; // nobody has logged in
  }
}
