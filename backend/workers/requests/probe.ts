import { type ProbeRequest, probeMany, probes as registry } from "../../../probes/index.ts";
import type { HeadScores } from "../../common/heads/scores.ts";
import { loadModel } from "../../models/load.ts";
import type { Model } from "../../models/model.ts";
import { parseReference } from "../../models/sources/reference.ts";
import { slug } from "../../paths.ts";
import type { JobRequest } from "../../server/api.ts";
import { progressTo } from "../progress.ts";
import { shortHash, writeResult } from "../result-files.ts";
import type { Handler } from "./index.ts";

type ProbeJob = Extract<JobRequest, { kind: "probe" }>;

/** Scores all heads by some probes; every document is written as soon as it is there. */
export const handle: Handler = async (payload, { emit, signal }): Promise<{ scores: string[] }> => {
  const { model: ref, probes, seed = 0 } = payload as ProbeJob;
  for (const { name, params } of probes) registry.parse(name, params ?? {});
  const model = await loadModel(parseReference(ref, "absolute"), { signal });
  try {
    const found = new Map<ProbeRequest, string>();
    for (const group of together(probes)) {
      const documents = await probeMany(model, group, { seed, signal, progress: progressTo(emit) });
      for (const [i, document] of documents.entries()) found.set(group[i]!, await keep(model, document));
    }
    return { scores: probes.map((one) => found.get(one)!) };
  } finally {
    model.dispose();
  }
};

/** Probes that are sums over patterns may share a forward pass; each of the others is by itself. */
function together(requests: readonly ProbeRequest[]): ProbeRequest[][] {
  const shared = requests.filter(({ name }) => registry.get(name).sums !== undefined);
  const others = requests.filter((one) => !shared.includes(one));
  return [...(shared.length > 0 ? [shared] : []), ...others.map((one) => [one])];
}

function keep(model: Model, document: HeadScores): Promise<string> {
  const { probe, params, tokens, seed } = document;
  const hash = shortHash([model.digest, params, tokens, seed]);
  return writeResult(`scores/${slug(model.ref)}/${probe}-${hash}.json`, document);
}
