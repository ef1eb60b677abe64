import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The checkout's root. */
const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** One fenced block of a page. */
export interface DocsBlock {
  /** "ts", "js", or "" for a block that says nothing. */
  readonly language: string;
  readonly code: string;
}

/** The text of a page. @param path from the root, such as "docs/library.md" */
export function readPage(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

/** The fenced blocks of a page. */
export function blocksOf(page: string): DocsBlock[] {
  return [...readPage(page).matchAll(/^```(\w*)\n([\s\S]*?)^```/gm)].map(([, language, code]) => ({
    language: language!,
    code: code!,
  }));
}

/** The one block of TypeScript of a page. */
export function typescriptOf(page: string): string {
  const blocks = blocksOf(page).filter(({ language }) => language === "ts");
  if (blocks.length !== 1) throw new Error(`${page} has ${blocks.length} blocks of TypeScript`);
  return blocks[0]!.code;
}

/**
 * Loads code as the file that its first line names (`// probes/self.ts`), whose relative imports it has.
 * @returns what the file exports
 */
export async function loadAsFile<T>(code: string): Promise<T> {
  const path = /^\/\/ (\S+\.ts)\n/.exec(code)?.[1];
  if (path === undefined) throw new Error("the code does not say which file it is");
  const folder = mkdtempSync(join(ROOT, "test/.docs-"));
  try {
    const file = join(folder, "page.ts");
    const imports = /from "(\.[^"]+)"/g;
    writeFileSync(
      file,
      code.replace(imports, (_, target: string) => `from "${join(ROOT, dirname(path), target)}"`),
    );
    return (await import(file)) as T;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
