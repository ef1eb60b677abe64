import { randomBytes } from "node:crypto";
import { type FileHandle, link, mkdir, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { HeadscopeError } from "../../common/errors.ts";
import { openRegular } from "../../files.ts";
import { fileError } from "../../store/file-error.ts";

/** Form of a token: it travels in an address and in a header. */
const TOKEN = /^[\x21-\x7e]{16,512}$/;
/** Bytes of a new token. */
const BYTES = 32;
/** Codes of file systems that know no hard links. */
const NO_LINKS = ["EPERM", "ENOSYS", "ENOTSUP", "EOPNOTSUPP"];
/** More than a token file can have. */
const MOST_BYTES = 1024;

/** The file that holds a data folder's token: whoever can read it may use the servers of that folder. */
export function tokenFile(folder: string): string {
  return join(folder, "token");
}

/** HEADSCOPE_TOKEN; undefined where it is not set or empty. */
export function environmentToken(): string | undefined {
  return process.env["HEADSCOPE_TOKEN"] || undefined;
}

/**
 * The token that a data folder's servers take: HEADSCOPE_TOKEN, else that of the folder's token file, which is made for the
 * user alone where there is none.
 * @throws HeadscopeError `usage` for an unusable HEADSCOPE_TOKEN, `input` for a token file that others could have read or
 * written, or that cannot be made
 */
export async function serverToken(folder: string): Promise<string> {
  const token = environmentToken();
  if (token !== undefined) {
    checkTokenForm(token);
    return token;
  }
  const path = tokenFile(folder);
  try {
    return (await readToken(path)) ?? (await makeToken(folder, path));
  } catch (error) {
    throw fileError(error, `the token cannot be kept in ${path}`);
  }
}

/** @throws HeadscopeError `usage` for a token that somebody chose and that cannot serve as one; it is not quoted */
export function checkTokenForm(token: string): void {
  if (TOKEN.test(token)) return;
  const why =
    token.length < 16
      ? "fewer than 16 characters"
      : token.length > 512
        ? "more than 512 characters"
        : "characters that an address or a header cannot carry";
  throw new HeadscopeError("usage", `HEADSCOPE_TOKEN has ${why}`, {
    remedy: 'set it to a secret (HEADSCOPE_TOKEN="$(openssl rand -hex 16)"), or leave it out',
  });
}

/** @returns undefined where there is no file */
async function readToken(path: string): Promise<string | undefined> {
  let handle: FileHandle;
  try {
    ({ handle } = await openRegular(path, { what: "token file", links: false, most: MOST_BYTES }));
  } catch (error) {
    if (!(error instanceof HeadscopeError)) throw error;
    if (error.kind === "missing") return undefined;
    throw refused(error.message);
  }
  try {
    const { mode, uid } = await handle.stat();
    const self = process.getuid?.();
    if (self !== undefined && uid !== self) throw refused(`the token file ${path} belongs to another user`);
    if (self !== undefined && (mode & 0o077) !== 0)
      throw refused(`the token file ${path} can be read or written by others`);
    const token = (await handle.readFile("utf8")).trim();
    if (!TOKEN.test(token)) throw refused(`the token file ${path} holds no token`);
    return token;
  } finally {
    await handle.close();
  }
}

function refused(why: string): HeadscopeError {
  return new HeadscopeError("input", why, {
    remedy: "remove it, and the next start makes a new one; or set HEADSCOPE_TOKEN",
  });
}

/** Makes the file whole or not at all. @returns its token, which is another's where another server was first */
async function makeToken(folder: string, path: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  const temporary = `${path}.${process.pid}.${randomBytes(4).toString("hex")}.part`;
  try {
    const file = await open(temporary, "wx", 0o600);
    try {
      await file.writeFile(`${randomBytes(BYTES).toString("base64url")}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    // Unlike a rename, a link does not replace the token of a server that started at the same moment.
    await link(temporary, path).catch((error: NodeJS.ErrnoException) => {
      if (NO_LINKS.includes(error.code ?? "")) return rename(temporary, path);
      if (error.code !== "EEXIST") throw error;
    });
  } finally {
    await rm(temporary, { force: true });
  }
  const token = await readToken(path);
  if (token === undefined) throw refused(`the token file ${path} was removed while it was made`);
  return token;
}
