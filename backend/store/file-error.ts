import { HeadscopeError } from "../common/errors.ts";

/** Remedy where a disk is full. */
export const FULL_REMEDY = "make room and run again: nothing that was reported is lost";

const REASONS: Readonly<Record<string, readonly [why: string, remedy: string]>> = {
  EACCES: ["permission denied", "change its permissions, or set HEADSCOPE_HOME to a folder that you may write"],
  EPERM: ["not permitted", "change its permissions, or set HEADSCOPE_HOME to a folder that you may write"],
  EROFS: ["the file system is read-only", "set HEADSCOPE_HOME to a folder that you may write"],
  ENOTDIR: ["a file is in the place of a folder", "move the file away, or set HEADSCOPE_HOME to another folder"],
  EEXIST: ["a file is in its place", "move the file away, or set HEADSCOPE_HOME to another folder"],
  EISDIR: ["a folder is in its place", "move the folder away, or choose another name"],
  ENOTEMPTY: ["a folder is in its place", "move the folder away, or choose another name"],
  ELOOP: ["a link is in its place", "move the link away, or choose another name"],
  ENAMETOOLONG: ["the name is too long", "choose a shorter one"],
  ENOSPC: ["the disk is full", FULL_REMEDY],
  EDQUOT: ["your disk quota is used up", FULL_REMEDY],
};

/**
 * A file system's refusal as one line for the person who must act; any other error as it is.
 * @param what what could not be done, naming the path
 */
export function fileError(error: unknown, what: string): unknown {
  const reason = REASONS[(error as NodeJS.ErrnoException).code ?? ""];
  if (error instanceof HeadscopeError || reason === undefined) return error;
  return new HeadscopeError("input", `${what}: ${reason[0]}`, { remedy: reason[1], cause: error });
}
