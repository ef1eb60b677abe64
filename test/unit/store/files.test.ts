import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import Libsql from "libsql";
import { beforeAll, describe, expect, test } from "vitest";
import { checkpointFile } from "../../../backend/paths.ts";
import { databaseFile, openStore } from "../../../backend/store/store.ts";
import { bundleScript, startScript } from "../../helpers/processes/script.ts";
import { mountable } from "../../helpers/processes/small-disk.ts";
import { lineOf, ownStores, SPEC } from "../../helpers/processes/stores.ts";

const ROOT_USER = process.getuid?.() === 0;
const NOBODY = 65_534;

const { base, newFolder, store } = ownStores();
let script = "";
beforeAll(async () => {
  script = await bundleScript("store-script");
});

describe("a data folder", () => {
  test("that is not there is not made by a reading command", () => {
    const folder = newFolder();
    expect(store(folder, { create: false }).runs()).toEqual([]);
    expect(existsSync(folder)).toBe(false);
  });

  test("can be moved", () => {
    const folder = newFolder();
    const s = openStore({ folder });
    s.createRuns(SPEC, [0]);
    s.addCheckpoint("induction-1", { step: 1, file: checkpointFile("induction-1", 1, folder), bytes: 1, digest: "" });
    s.close();
    const moved = newFolder();
    renameSync(folder, moved);
    expect(store(moved).checkpoints("induction-1")[0]!.file).toBe(checkpointFile("induction-1", 1, moved));
  });

  test("whose place is taken by a file is one clear line, also for a reading command", async () => {
    const folder = newFolder();
    await writeFile(folder, "");
    for (const create of [true, false])
      expect(lineOf(() => store(folder, { create }))).toMatch(
        /^the data folder .*home-\d+ cannot be made: a file is in (its place|the place of a folder); move the file away/,
      );
    expect(lineOf(() => store(join(folder, "below")))).toMatch(/cannot be made: a file is in the place of a folder; /);
  });

  test.skipIf(process.platform === "win32")("that may not be written is one clear line", async () => {
    const folder = newFolder();
    mkdirSync(folder);
    await chmod(base, 0o755);
    await chmod(folder, 0o555);
    // Root may write everywhere, so somebody else tries.
    const { code, stdout, stderr } = await startScript(
      script,
      [folder, "open"],
      ROOT_USER ? { uid: NOBODY, gid: NOBODY } : {},
    ).ended;
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toBe(
      `${databaseFile(folder)} cannot be opened for writing; make the folder ${folder} writable, or set HEADSCOPE_HOME to another one\n`,
    );
    const below = join(folder, "below");
    const made = await startScript(script, [below, "open"], ROOT_USER ? { uid: NOBODY, gid: NOBODY } : {}).ended;
    expect(made.stderr).toMatch(/^the data folder .*below cannot be made: permission denied; change its permissions/);
  });
});

describe("a database file", () => {
  test("of a newer version is left alone", () => {
    const folder = newFolder();
    openStore({ folder }).close();
    const raw = new Libsql(databaseFile(folder));
    raw.exec("PRAGMA user_version = 99");
    raw.close();
    expect(lineOf(() => store(folder))).toMatch(
      / was written by a newer headscope \(format 99; .*\); update headscope/,
    );
  });

  test("of another program is left alone", () => {
    const folder = newFolder();
    mkdirSync(folder);
    const raw = new Libsql(databaseFile(folder));
    raw.exec("CREATE TABLE theirs (x)");
    raw.close();
    expect(lineOf(() => store(folder))).toMatch(/ is another program's database; set HEADSCOPE_HOME/);
  });

  test("that is none, or is damaged, is one clear line", () => {
    const folder = newFolder();
    mkdirSync(folder);
    writeFileSync(databaseFile(folder), "no database at all. ".repeat(1000));
    expect(lineOf(() => store(folder))).toMatch(/headscope\.db is not a sound database \(.*\); move it away: /);

    const damaged = newFolder();
    const s = openStore({ folder: damaged });
    s.createRuns(SPEC, [0]);
    s.close();
    const bytes = 4096;
    writeFileSync(databaseFile(damaged), Buffer.alloc(40 * bytes, 0x5a), { flag: "r+" });
    expect(lineOf(() => store(damaged).runs())).toMatch(/ is not a sound database /);
  });
});

describe("a full disk", () => {
  const why = mountable ? "" : " (skipped: mounting a small file system needs root)";
  test.skipIf(!mountable)(
    `is one clear line; what was reported stays, and writing goes on after making room${why}`,
    () => {
      const folder = newFolder();
      mkdirSync(folder);
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=512k", "tmpfs", folder]);
      try {
        const s = openStore({ folder });
        try {
          s.createRuns(SPEC, [0]);
          let stored = 0;
          const line = lineOf(() => {
            for (;;) {
              s.transaction(() => {
                for (let i = 0; i < 100; i++) s.addMetrics("induction-1", stored + i, { loss: stored + i });
              });
              stored += 100;
            }
          });
          expect(line).toMatch(/ is full; make room and run again: nothing that was reported is lost$/);
          expect(stored).toBeGreaterThan(0);
          expect(s.metrics("induction-1").get("loss")).toHaveLength(stored);
          execFileSync("mount", ["-o", "remount,size=8m", folder]);
          s.addMetrics("induction-1", stored, { loss: 0 });
          expect(s.metrics("induction-1").get("loss")).toHaveLength(stored + 1);
        } finally {
          s.close();
        }
      } finally {
        execFileSync("umount", ["--lazy", folder]); // the library closes its files late
      }
    },
  );
});
