import { join } from "node:path";

/** Path of a file or folder of test/fixtures. @param path below it, such as "families/gpt2" */
export const fixture = (path: string): string => join(import.meta.dirname, "../fixtures", path);
