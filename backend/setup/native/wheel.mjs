import { createHash } from "node:crypto";
import { setMaxListeners } from "node:events";
import { createWriteStream } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import yauzl from "yauzl";
import { SetupError } from "../failure.mjs";
import { isPlainPath } from "../names.mjs";

/** Bytes that the chosen files of a wheel may have together: TensorFlow's libraries have 0.9 GB. */
const MOST_BYTES = 2 ** 32;

/**
 * @typedef {object} Extracted
 * @property {string} path where the file is now
 * @property {number} bytes
 * @property {string} sha256 hexadecimal
 */

/** @type {(path: string, options: yauzl.Options) => Promise<yauzl.ZipFile>} */
const openZip = promisify(yauzl.open);

/**
 * Streams chosen files out of a wheel (a zip archive). A wheel of thousands of files costs what the chosen ones cost.
 * @param {string} wheel path
 * @param {(name: string) => string | undefined} choose from a name in the wheel to a path below `folder`, undefined to skip
 * @param {string} folder
 * @param {{ signal?: AbortSignal | undefined, flush?: boolean, mostBytes?: number }} [options] `flush`: to the disk before it
 *   returns, default false; `mostBytes`: of the chosen files together
 * @returns {Promise<Map<string, Extracted>>} by the name in the wheel
 * @throws {SetupError} corrupt, when the archive cannot be read, names a file elsewhere or unpacks to too much; cancelled
 */
export async function extract(wheel, choose, folder, { signal, flush = false, mostBytes = MOST_BYTES } = {}) {
  let zip;
  try {
    zip = await openZip(wheel, { lazyEntries: true, autoClose: false });
  } catch (error) {
    throw new SetupError("corrupt", `${wheel} is not a readable wheel`, {
      remedy: "delete it and run again",
      cause: error,
    });
  }
  if (signal) setMaxListeners(0, signal); // every file's stream listens
  try {
    /** @type {Map<string, Extracted>} */
    const out = new Map();
    const chosen = (await list(zip)).flatMap((entry) => {
      const target = choose(entry.fileName);
      return target === undefined ? [] : [{ entry, path: inside(folder, target) }];
    });
    const bytes = chosen.reduce((sum, { entry }) => sum + entry.uncompressedSize, 0); // yauzl holds each to its own
    if (bytes > mostBytes)
      throw new SetupError("corrupt", `${wheel} unpacks to ${bytes} bytes; ${mostBytes} are the most`);
    // two large files inflate side by side in the thread pool; the small ones follow in the same way
    await Promise.all(
      chosen.map(async ({ entry, path }) =>
        out.set(entry.fileName, await extractOne(zip, entry, path, { signal, flush })),
      ),
    );
    return out;
  } catch (error) {
    if (signal?.aborted) throw new SetupError("cancelled", "interrupted");
    if (error instanceof SetupError) throw error;
    throw new SetupError(
      "corrupt",
      `${wheel} could not be unpacked: ${error instanceof Error ? error.message : error}`,
      {
        remedy: "check the free space, then run again",
        cause: error,
      },
    );
  } finally {
    zip.close();
  }
}

/** @param {yauzl.ZipFile} zip @returns {Promise<yauzl.Entry[]>} */
function list(zip) {
  return new Promise((resolve, reject) => {
    /** @type {yauzl.Entry[]} */
    const entries = [];
    zip.on("entry", (/** @type {yauzl.Entry} */ entry) => {
      entries.push(entry);
      zip.readEntry();
    });
    zip.once("end", () => resolve(entries));
    zip.once("error", reject);
    zip.readEntry();
  });
}

/** @param {string} folder @param {string} name @returns {string} the path, checked to lie below the folder */
function inside(folder, name) {
  if (!isPlainPath(name)) throw new SetupError("corrupt", `${name} would be written outside ${folder}`);
  return join(folder, name);
}

/**
 * @param {yauzl.ZipFile} zip
 * @param {yauzl.Entry} entry
 * @param {string} path
 * @param {{ signal: AbortSignal | undefined, flush: boolean }} options
 * @returns {Promise<Extracted>}
 */
async function extractOne(zip, entry, path, { signal, flush }) {
  await mkdir(dirname(path), { recursive: true });
  /** @type {NodeJS.ReadableStream} */
  const source = await new Promise((resolve, reject) =>
    zip.openReadStream(entry, (error, stream) => (error ? reject(error) : resolve(stream))),
  );
  const hash = createHash("sha256");
  let bytes = 0;
  const measured = new Transform({
    transform(chunk, _, done) {
      hash.update(chunk);
      bytes += chunk.length;
      done(null, chunk);
    },
  });
  await pipeline(source, measured, createWriteStream(path, { flush }), ...(signal ? [{ signal }] : []));
  return { path, bytes, sha256: hash.digest("hex") };
}
