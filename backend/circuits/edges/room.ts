import { HeadscopeError } from "../../common/errors.ts";
import type { Model } from "../../models/model.ts";
import { availableMemory } from "../../models/sources/memory.ts";
import type { EdgeGraph } from "./graph.ts";
import { filledPositions } from "./source-run.ts";

/** Copies of every source's output that are held at the height of a run: of both whole runs, and differences twice while they grow. */
const COPIES = 4;

/**
 * Refuses to take a prompt's runs apart where that does not fit into memory.
 * @param length tokens of the prompt
 * @throws HeadscopeError (unsupported) with what it takes and what is free
 */
export function checkRoom(model: Model, graph: EdgeGraph, length: number, available = availableMemory()): void {
  const positions = filledPositions(model, length);
  const bytes = COPIES * 4 * graph.sources.length * positions * model.config.d_model;
  if (bytes <= available) return;
  const gigabytes = (size: number): string => `${(size / 1e9).toFixed(1)} GB`;
  throw new HeadscopeError(
    "unsupported",
    `the outputs of ${graph.sources.length} nodes over ${length} tokens take ${gigabytes(bytes)}, and ${gigabytes(available)} of memory are free`,
    { remedy: "give a shorter prompt, or free memory" },
  );
}
