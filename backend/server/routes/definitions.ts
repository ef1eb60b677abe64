import { experiments } from "../../../experiments/index.ts";
import { probes } from "../../../probes/index.ts";
import { contextTasks } from "../../../synthetic-tasks/contexts/index.ts";
import { tasks } from "../../../synthetic-tasks/index.ts";
import { pairTasks } from "../../../synthetic-tasks/pairs/index.ts";
import { circuitParameters } from "../../circuits/edges/methods/index.ts";
import { type DefinitionDocument, type Definitions, definitionsSchema } from "../../common/api/definitions.ts";
import type { Definition, Registry } from "../../common/definitions/definition.ts";
import { flagsOf } from "../../common/definitions/parameters.ts";
import { CIRCUIT_METHODS } from "../../common/words.ts";
import { exporters, importers } from "../../exports/index.ts";
import { policies } from "../../inference/policies/index.ts";
import { trainFlags, trainPart } from "../../training/spec.ts";
import { route } from "../http/route.ts";

export const definitionRoutes = [
  route({
    method: "get",
    path: "/definitions",
    summary:
      "Probes, tasks, experiments, exports, imports, tasks of pairs and of long contexts, policies and circuit methods, with the parameters of each",
    answer: { description: "Definitions", schema: definitionsSchema },
    handle: () => definitions(),
  }),
];

let cache: Definitions | undefined;

/** Every registry as data; made once. */
export function definitions(): Definitions {
  cache ??= {
    probes: documents(probes).map((document) => {
      const { meanings = {} } = probes.get(document.name);
      const said = Object.entries(meanings).map(([name, { meaning, range }]) => [name, { meaning, range }]);
      return { ...document, meanings: Object.fromEntries(said) };
    }),
    tasks: documents(tasks).map((document) => {
      const task = tasks.get(document.name);
      const taskFlags = new Set(document.flags.map(({ name }) => name));
      const train = trainFlags(task)
        .filter(({ name }) => !taskFlags.has(name))
        .map((flag) => ({ ...flag, part: trainPart(flag.name) }));
      return {
        ...document,
        train,
        probes: task.defaults?.probes ?? [],

        part: task.part,
      };
    }),
    experiments: documents(experiments).map((document) => {
      const { claims, presets } = experiments.get(document.name);
      return { ...document, claims, presets: Object.keys(presets) };
    }),
    exports: documents(exporters).flatMap((document) => {
      const { from, needsCheckpoint, output } = exporters.get(document.name);
      const kept = from.filter((kind) => kind !== "patterns");
      return kept.length === 0 ? [] : [{ ...document, from: kept, needsCheckpoint, output }];
    }),
    imports: documents(importers).filter(({ name }) => importers.get(name).gives === "scores"),
    pairTasks: documents(pairTasks).map((document) => {
      return { ...document, wordless: pairTasks.get(document.name).wordless ?? false };
    }),
    contextTasks: documents(contextTasks),
    policies: documents(policies).map((document) => ({ ...document, chooses: policies.get(document.name).chooses })),
    circuitMethods: CIRCUIT_METHODS.map((name) => ({ name, flags: flagsOf(circuitParameters[name]) })),
  };
  return cache;
}

function documents<D extends Definition>(registry: Registry<D>): DefinitionDocument[] {
  const schemas = registry.schemas();
  return registry.list().map(({ name, title, description, source }) => {
    return { name, title, description, source, flags: registry.flags(name), schema: schemas[name]! };
  });
}
