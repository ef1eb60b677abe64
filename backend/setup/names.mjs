/**
 * Characters of the longest relative path, and bytes of the longest part of one: file systems take parts of 255, and a file that is
 * being written has some more behind its name.
 */
const LONGEST = { path: 1024, part: 200 };

/** Characters that no part of a path may hold: other systems' separators, control characters, halves of characters. */
const ODD = /[\\\p{Cc}\p{Cs}\p{Zl}\p{Zp}]|^[A-Za-z]:/u;

/**
 * Tells whether a value that came from outside (a hub's list, an index, an archive) is a relative path that stays below the folder
 * it is joined to: names with single slashes between them, none of them "." or "..". The one rule before anything is joined.
 * @param {unknown} value
 * @returns {value is string}
 */
export function isPlainPath(value) {
  if (typeof value !== "string" || value.length > LONGEST.path || ODD.test(value)) return false;
  return value
    .split("/")
    .every((part) => part !== "" && part !== "." && part !== ".." && Buffer.byteLength(part) <= LONGEST.part);
}

/**
 * Tells whether a value that came from outside is the name of a file in a folder: a plain path without a slash.
 * @param {unknown} value
 * @returns {value is string}
 */
export function isPlainName(value) {
  return isPlainPath(value) && !value.includes("/");
}
