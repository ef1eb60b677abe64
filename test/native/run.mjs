// npm run test:kernels [-- CALLS]: the kernels' random calls (driver.cc), and those whose figures NumPy made, under the address, undefined-behaviour and thread sanitizers, in
// builds for this machine and for lesser ones that it can run. CALLS, default 20,000, are made by this machine's own build, a tenth
// of them by each other. Exit code 0 when all calls are right.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { filesBelow } from "../../backend/setup/files.mjs";
import { KERNEL_FLAGS, KERNEL_SOURCES, NATIVE_FLAGS, processorFeatures } from "../../backend/setup/native/kernels.mjs";
import { firstError, runProcess } from "../../backend/setup/process.mjs";
import { output } from "../../backend/setup/terminal.mjs";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** What NumPy makes of 20,000 calls (test/oracles/kernels.py). */
const FIGURES = join(ROOT, "test/oracles/kernels.f32");
const BAD_MEMORY = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

/** @type {readonly { name: string, flags: readonly string[], needs: string, share: number, foreign?: boolean }[]} */
const BUILDS = [
  { name: "this machine's", flags: [...NATIVE_FLAGS, ...BAD_MEMORY], needs: "", share: 1 },
  {
    name: "AVX-512 alone",
    flags: ["-march=x86-64-v4", "-mprefer-vector-width=512", ...BAD_MEMORY],
    needs: "avx512vl",
    share: 0.1,
  },
  { name: "AVX2", flags: ["-march=x86-64-v3", ...BAD_MEMORY], needs: "avx2", share: 0.1 },
  { name: "SSE2", flags: ["-march=x86-64", ...BAD_MEMORY], needs: "sse2", share: 0.1 },
  { name: "threads", flags: [...NATIVE_FLAGS, "-fsanitize=thread"], needs: "", share: 0.1 },
  { name: "NEON", flags: ["-static"], needs: "", share: 0.01, foreign: true },
];
/** Debian's g++-aarch64-linux-gnu and qemu-user-static: a build for arm64 is run by emulation where they are. */
const FOREIGN = { compiler: "aarch64-linux-gnu-g++", runner: "qemu-aarch64-static" };

// TensorFlow is left out: ops.cc only checks shapes and calls what is tried here.
const sources = filesBelow(join(ROOT, KERNEL_SOURCES), [".cc"]).filter((path) => !path.endsWith("/ops.cc"));
const calls = Number(process.argv[2] ?? 20_000);
const features = processorFeatures().split(" ");
const emulated = (await Promise.all(Object.values(FOREIGN).map((name) => runProcess(name, ["--version"])))).every(
  ({ code }) => code === 0,
);
const work = await mkdtemp(join(tmpdir(), "headscope-native-"));
try {
  for (const { name, flags, needs, share, foreign } of BUILDS) {
    if (foreign && !emulated) {
      void output.line(`skipped  ${name}: ${FOREIGN.compiler} or ${FOREIGN.runner} is not here`);
      continue;
    }
    if (needs && !features.includes(needs)) {
      void output.line(`skipped  ${name}: this processor has no ${needs}`);
      continue;
    }
    const built = join(work, "driver");
    const start = performance.now();
    const all = [...KERNEL_FLAGS.filter((flag) => flag !== "-O3"), "-O1", "-g", "-w", ...flags];
    const made = await runProcess(foreign ? FOREIGN.compiler : "g++", [
      ...all,
      ...filesBelow(join(ROOT, "test/native"), [".cc"]),
      ...sources,
      "-o",
      built,
      "-pthread",
    ]);
    const [command, ...first] = foreign ? [FOREIGN.runner, built] : [built];
    const rest = [...first, String(Math.ceil(calls * share)), "1", "3", FIGURES];
    const ran = made.code === 0 ? await runProcess(/** @type {string} */ (command), rest) : made;
    const seconds = ((performance.now() - start) / 1000).toFixed(0);
    const said = ran.code === 0 ? ran.output.trim() : `${firstError(ran.output)}\n${ran.output}`;
    void output.line(`${ran.code === 0 ? "ok     " : "FAILED "}  ${name} (${seconds} s): ${said}`);
    if (ran.code !== 0) process.exitCode = 1;
  }
} finally {
  await rm(work, { recursive: true, force: true });
}
