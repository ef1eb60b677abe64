import { HeadscopeError } from "../../common/errors.ts";
import type { CacheKind } from "../../common/words.ts";
import { hasKernels } from "../../kernels/kernels.ts";
import { PagedStorage } from "./paged-storage.ts";
import { PlainStorage } from "./plain-storage.ts";
import type { CacheStorage } from "./storage.ts";

/** The storage of caches of one kind: the kernels' pages where there are kernels, else plain tensors. @throws HeadscopeError (unsupported) for other kinds than float32 without them */
export function storageOf(kind: CacheKind, width: number): CacheStorage {
  if (hasKernels()) return new PagedStorage(kind, width);
  if (kind === "f32") return new PlainStorage(width);
  throw new HeadscopeError("unsupported", `a cache in ${kind} needs the kernels, which are not here`, {
    remedy: "`headscope doctor` says why; or cache in f32",
  });
}
