import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { headModel } from "../../../backend/common/heads/model.ts";
import { writeHuggingFace } from "../../../backend/exports/checkpoints/hugging-face.ts";
import { duoAttentionImport } from "../../../backend/exports/heads/duo-attention.ts";
import { describeModel, inspectModel, loadModel } from "../../../backend/models/load.ts";
import { readOracle } from "../../../backend/models/oracle.ts";
import { fixture } from "../../helpers/fixtures.ts";
import { ownSandbox, refusal } from "../../helpers/processes/sandbox.ts";
import { COMMIT } from "../../helpers/servers/hostile-hub.ts";

const TINY = fixture("formats/llama-tiny");
const SHARDED = fixture("families/qwen2");
const gguf = readFileSync(fixture("formats/llama-tiny.gguf"));
const INDEX = "model.safetensors.index.json";

const box = ownSandbox();
const repo = (...names: string[]) => join(box.inside, "hub", "models--a--b", ...names);
const snapshot = (...names: string[]) => repo("snapshots", COMMIT, ...names);

describe("a model's folder with a link out of it", () => {
  const model = (...names: string[]) => join(box.inside, "model", ...names);
  const secret = (name: string) => join(box.outside, name);
  beforeEach(() => cpSync(TINY, model(), { recursive: true }));
  /** Puts a link in the place of a file. */
  const link = (name: string, target: string) => {
    rmSync(model(name), { force: true });
    symlinkSync(target, model(name));
  };

  const READ = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
  ];
  test.each([...READ, "chat_template.jinja", "model.safetensors"])(
    "in the place of %s is not opened, and nothing of its target is told",
    async (name) => {
      for (const target of [secret("secret.txt"), secret("secret.json"), "../../outside/secret.txt"]) {
        link(name, target);
        for (const open of [loadModel, inspectModel]) {
          const { kind, message } = await refusal(open(model()));
          expect([kind, message]).toEqual(["input", expect.stringContaining(name)]);
        }
      }
    },
  );

  test("is followed to its end: by way of another link, of a folder, and with a way back in", async () => {
    symlinkSync(secret("secret.json"), model("hop"));
    symlinkSync(secret("folder"), model("way"));
    for (const target of ["hop", "way/config.json", model("hop")]) {
      link("config.json", target);
      expect((await refusal(describeModel(model()))).kind).toBe("input");
    }
    copyFileSync(join(TINY, "config.json"), model("real.json"));
    for (const target of ["real.json", model("real.json"), "../model/real.json"]) {
      link("config.json", target);
      expect((await describeModel(model())).config.n_layers).toBe(2);
    }
  });

  test("that goes round in a circle, or a folder, is refused", async () => {
    link("config.json", "config.json");
    expect((await refusal(describeModel(model()))).kind).toBe("input");
    unlinkSync(model("config.json"));
    mkdirSync(model("config.json"));
    expect((await refusal(describeModel(model()))).kind).toBe("input");
  });

  test("in the place of a shard or of the index is not opened", async () => {
    const shards = readdirSync(SHARDED).filter((name) => name.endsWith(".safetensors"));
    for (const name of [shards[0]!, INDEX]) {
      rmSync(model(), { recursive: true });
      cpSync(SHARDED, model(), { recursive: true });
      copyFileSync(model(name), join(box.inside, "elsewhere"));
      link(name, join(box.inside, "elsewhere"));
      expect((await refusal(describeModel(model()))).kind).toBe("input");
      expect((await refusal(describeModel(model(shards[0]!)))).kind).toBe("input");
    }
  });

  const COPIED = ["vocab.json", "merges.txt", "tokenizer.model", "generation_config.json"];
  test.each(COPIED)("in the place of %s is not exported; nothing is left of the export", async (name) => {
    link(name, secret("secret.txt"));
    const loaded = await loadModel(model());
    const out = join(box.inside, "out");
    const { kind, message } = await refusal(writeHuggingFace(loaded, out));
    expect([kind, message]).toEqual(["input", expect.stringContaining(name)]);
    expect(readdirSync(box.inside)).not.toContain("out");
    link(name, "tokenizer_config.json");
    await writeHuggingFace(loaded, out);
    expect(readFileSync(join(out, name))).toEqual(readFileSync(model("tokenizer_config.json")));
    loaded.dispose();
  });

  test("does not hinder the cache's own links to its contents, nor a file that was named itself", async () => {
    mkdirSync(repo("blobs"), { recursive: true });
    mkdirSync(snapshot(), { recursive: true });
    for (const [i, name] of readdirSync(TINY).entries()) {
      copyFileSync(join(TINY, name), repo("blobs", String(i).repeat(40)));
      symlinkSync(`../../blobs/${String(i).repeat(40)}`, snapshot(name));
    }
    const loaded = await loadModel(`hf:a/b@${COMMIT}`);
    const { files } = await writeHuggingFace(loaded, join(box.inside, "out"));
    expect(files).toContain("tokenizer.json");
    loaded.dispose();
    // Nor may they lead to another repository.
    unlinkSync(snapshot("tokenizer.json"));
    mkdirSync(join(box.inside, "hub", "models--c--d", "blobs"), { recursive: true });
    copyFileSync(join(TINY, "tokenizer.json"), join(box.inside, "hub", "models--c--d", "blobs", "x"));
    symlinkSync("../../../models--c--d/blobs/x", snapshot("tokenizer.json"));
    expect((await refusal(inspectModel(snapshot()))).kind).toBe("input");
    writeFileSync(join(box.inside, "elsewhere.gguf"), gguf);
    symlinkSync(join(box.inside, "elsewhere.gguf"), model("named.gguf"));
    expect((await describeModel(model("named.gguf"))).config.n_layers).toBe(2);
  });

  test("is not compared with: the oracle of a folder lies in it", async () => {
    symlinkSync(secret("secret.txt"), model("oracle.json"));
    expect((await refusal(readOracle(model()))).kind).toBe("input");
  });

  test("does not get into scores: a pattern folder of another project is read in itself only", async () => {
    const pattern = join(box.inside, "pattern");
    cpSync(fixture("exports/duo"), pattern, { recursive: true });
    const shape = headModel(await describeModel(TINY));
    for (const name of ["full_attention_heads.tsv", "config.json"]) {
      rmSync(join(pattern, name));
      symlinkSync(secret("secret.txt"), join(pattern, name));
      expect((await refusal(duoAttentionImport.read(pattern, shape))).kind).toBe("input");
    }
  });
});

describe("a pipe", () => {
  test.each(["model.safetensors", "model.gguf", "model.bin"])("as the model %s is refused at once", async (name) => {
    const path = join(box.inside, name);
    execFileSync("mkfifo", [path]);
    for (const open of [loadModel, describeModel]) expect((await refusal(open(path))).kind).toBe("input");
    expect((await refusal(describeModel("/dev/zero"))).kind).toBe("input");
  });

  test.each(["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "vocab.json"])(
    "in the place of %s of a model is refused at once",
    async (name) => {
      const folder = join(box.inside, basename(TINY));
      cpSync(TINY, folder, { recursive: true });
      const loaded = await loadModel(folder);
      rmSync(join(folder, name), { force: true });
      execFileSync("mkfifo", [join(folder, name)]);
      const work = name === "vocab.json" ? writeHuggingFace(loaded, join(box.inside, "out")) : inspectModel(folder);
      expect((await refusal(work)).kind).toBe("input");
      loaded.dispose();
    },
  );
});
