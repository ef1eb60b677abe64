import { HeadscopeError } from "../../../common/errors.ts";
import type { CacheKind } from "../../../common/words.ts";
import { hasKernels } from "../../../kernels/kernels.ts";
import { MOST_WIDTH } from "../../../kernels/pages.ts";
import { PagedStorage } from "./paged-storage.ts";
import { PlainStorage } from "./plain-storage.ts";
import type { CacheStorage } from "./storage.ts";

/** Says that there are kernels that attend for heads of a width. */
export function kernelsAttend(width: number): boolean {
  return width <= MOST_WIDTH && hasKernels();
}

/**
 * The storage of caches of one kind: the kernels' pages where there are kernels for heads of this width, else plain tensors.
 * @throws HeadscopeError (unsupported) for other kinds than float32 without them
 */
export function storageOf(kind: CacheKind, width: number): CacheStorage {
  if (kernelsAttend(width)) return new PagedStorage(kind, width);
  if (kind === "f32") return new PlainStorage(width);
  const tooWide = width > MOST_WIDTH;
  const why = tooWide ? `take heads of up to ${MOST_WIDTH} numbers, not ${width}` : "are not here";
  throw new HeadscopeError("unsupported", `a cache in ${kind} needs the kernels, which ${why}`, {
    remedy: tooWide ? "cache in f32" : "`headscope doctor` says why; or cache in f32",
  });
}
