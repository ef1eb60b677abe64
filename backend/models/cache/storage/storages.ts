import { HeadscopeError } from "../../../common/errors.ts";
import type { CacheKind } from "../../../common/words.ts";
import { hasKernels } from "../../../kernels/kernels.ts";
import { MOST_WIDTH } from "../../../kernels/pages.ts";
import type { ModelConfig } from "../../config.ts";
import { kernelOf } from "../../transformer/kernels/index.ts";
import { PagedStorage } from "./paged-storage.ts";
import { PlainStorage } from "./plain-storage.ts";
import type { CacheStorage } from "./storage.ts";

/** The fields of a config by which its storage is chosen. */
type HeadFields = Pick<ModelConfig, "d_head" | "attention">;

/** Says that the native kernels attend for a model's heads: those that are not too wide, and weigh keys as the kernels do. */
export function kernelsAttend(config: HeadFields): boolean {
  return config.d_head <= MOST_WIDTH && kernelOf(config).fused && hasKernels();
}

/**
 * The storage of caches of one kind: the kernels' pages where the kernels attend for its heads, else plain tensors.
 * @throws HeadscopeError (unsupported) for other kinds than float32 without them
 */
export function storageOf(kind: CacheKind, config: HeadFields): CacheStorage {
  const { d_head: width } = config;
  if (kernelsAttend(config)) return new PagedStorage(kind, width);
  if (kind === "f32") return new PlainStorage(width);
  const { fused, title } = kernelOf(config);
  if (!fused)
    throw new HeadscopeError("unsupported", `a cache in ${kind} needs the kernels, which do not know ${title}`, {
      remedy: "cache in f32",
    });
  const tooWide = width > MOST_WIDTH;
  const why = tooWide ? `take heads of up to ${MOST_WIDTH} numbers, not ${width}` : "are not here";
  throw new HeadscopeError("unsupported", `a cache in ${kind} needs the kernels, which ${why}`, {
    remedy: tooWide ? "cache in f32" : "`headscope doctor` says why; or cache in f32",
  });
}
