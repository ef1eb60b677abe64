import { fileURLToPath } from "node:url";

/** Path of a file or folder of test/fixtures. @param path below it, such as "families/gpt2" */
export const fixture = (path: string): string => fileURLToPath(new URL(`../fixtures/${path}`, import.meta.url));
