import { HeadscopeError } from "../../../common/errors.ts";

/** A checkpoint on a Hugging Face hub. */
export interface HubRef {
  /** "org/name", or "name" for the few that have no organisation. */
  readonly repo: string;
  /** Path of the GGUF file that is meant, for repositories with several. */
  readonly file?: string | undefined;
  /** Branch, tag or commit; "main" where the reference says none. */
  readonly revision: string;
}

const NAME = String.raw`[A-Za-z0-9][\w.-]*`;
const SHAPE = new RegExp(
  `^hf:(?<repo>${NAME}(?:/${NAME})?)(?:/(?<file>${NAME}(?:/${NAME})*))?(?:@(?<revision>${NAME}(?:/${NAME})*))?$`,
);

/**
 * Reads `hf:org/name`, `hf:org/name@revision` or `hf:org/name/file.gguf@revision`. What comes back holds no "." or ".."
 * as a name, so that it can't lead out of a folder.
 * @throws HeadscopeError (usage) for anything else
 */
export function parseHubRef(ref: string): HubRef {
  const { repo, file, revision = "main" } = SHAPE.exec(ref)?.groups ?? {};
  const wrong =
    repo === undefined ||
    repo.length > 96 ||
    /--|\.\./.test(repo) ||
    /\.\.|\.lock$/.test(revision) ||
    (file !== undefined && !file.endsWith(".gguf"));
  if (wrong)
    throw new HeadscopeError("usage", `"${ref}" names no checkpoint on the hub`, {
      remedy: "write hf:org/name, hf:org/name@revision or hf:org/name/file.gguf",
    });
  return { repo, revision, file };
}

/** The reference that `parseHubRef` reads as this; "main" is left out. */
export function formatHubRef({ repo, file, revision }: HubRef): string {
  return `hf:${repo}${file === undefined ? "" : `/${file}`}${revision === "main" ? "" : `@${revision}`}`;
}
