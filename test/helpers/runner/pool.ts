import {
  BaseSequencer,
  ForksPoolWorker,
  type PoolRunnerInitializer,
  type PoolTask,
  type TestSpecification,
} from "vitest/node";

/** Folders whose tests make no tensor and set nothing that outlives them: all their files run in one process for each processor. */
const PURE = /\/test\/unit\/(cli|common|heads|reports|models\/tokenizers)\//;
/** Folders whose tests start programs, servers and browsers, and take the longest. */
const LONG = /\/test\/(browser|integration)\//;

/** A process of tests, which goes on with the next file where both are pure. */
class SharingWorker extends ForksPoolWorker {
  override readonly name = "sharing-forks";
  #pure = true;

  override send(message: Parameters<ForksPoolWorker["send"]>[0]): void {
    if (message.type === "run") this.#pure = message.context.files.every(({ filepath }) => PURE.test(filepath));
    super.send(message);
  }

  canReuse({ context }: PoolTask): boolean {
    return this.#pure && context.files.every(({ filepath }) => PURE.test(filepath));
  }
}

/** Processes of tests: one for each file, and one for many pure files. A project with this pool has `isolate: false`. */
export const pool: PoolRunnerInitializer = {
  name: "sharing-forks",
  createPoolWorker: (options) => new SharingWorker(options),
};

/** The order of files: the long ones first, so that no processor waits for the last; the pure ones last, one after the other. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => (LONG.test(moduleId) ? 0 : PURE.test(moduleId) ? 2 : 1);
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b));
  }
}
