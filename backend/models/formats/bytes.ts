import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { HeadscopeError } from "../../common/errors.ts";
import { openRegular } from "../../files.ts";

/** A file read by byte ranges: the edge at which the formats meet input and output. */
export interface ByteSource {
  readonly path: string;
  /** Length of the file in bytes. */
  readonly size: number;
  /**
   * Bytes of one range, at offset 0 of a buffer of their own (so that a wider typed array can be laid over them).
   * @throws HeadscopeError "corrupt" when the file ends before the range does
   */
  read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
  /** "sha256:…" of all bytes of the file. */
  digest(): Promise<string>;
  close(): Promise<void>;
}

/** Longest single read in bytes; Node refuses 2 GiB and more. */
const LONGEST_READ = 2 ** 30;

/** An error of a damaged file: what is wrong in it, and that another copy is needed. */
export function corrupt(path: string, what: string, cause?: unknown): HeadscopeError {
  return new HeadscopeError("corrupt", `${path} is corrupt: ${what}`, {
    remedy: "fetch or convert the file again",
    cause,
  });
}

/** The error for a tensor that a checkpoint lacks. */
export function missingTensor(path: string, name: string): HeadscopeError {
  return new HeadscopeError("missing", `${path} holds no tensor "${name}"`, {
    remedy: "the file is incomplete or of another architecture",
  });
}

/** A file that is open, and its size then. */
interface OpenFile {
  readonly handle: FileHandle;
  readonly path: string;
  readonly size: number;
}

async function readRange({ handle, path, size }: OpenFile, offset: number, length: number) {
  // Checked before allocating: no range that a header claims may cost more memory than the file has bytes.
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0) {
    throw corrupt(path, `bytes ${offset} to ${offset + length} are no range`);
  }
  if (offset + length > size) {
    throw corrupt(path, `bytes ${offset} to ${offset + length} lie outside its ${size} bytes`);
  }
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await handle.read(bytes, done, Math.min(length - done, LONGEST_READ), offset + done);
    if (bytesRead === 0) throw corrupt(path, `it ends at byte ${offset + done}; it had ${size} when it was opened`);
    done += bytesRead;
  }
  return bytes;
}

/**
 * Opens a file for reading by ranges.
 * @throws HeadscopeError "missing" when there is no such file, "input" when it can't be read or is no plain file
 */
export async function openBytes(path: string): Promise<ByteSource> {
  const { handle, size } = await openRegular(path, { most: Number.POSITIVE_INFINITY });
  const file = { handle, path, size };
  let digest: Promise<string> | undefined;
  const hash = async () => {
    const sha256 = createHash("sha256");
    const step = 2 ** 22;
    for (let offset = 0; offset < size; offset += step) {
      sha256.update(await readRange(file, offset, Math.min(step, size - offset)));
    }
    return `sha256:${sha256.digest("hex")}`;
  };
  return {
    path,
    size,
    read: (offset, length) => readRange(file, offset, length),
    digest() {
      digest ??= hash();
      return digest;
    },
    close: () => handle.close(),
  };
}
