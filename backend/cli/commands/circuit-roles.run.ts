import { parseScoredCircuit } from "../../circuits/edges/circuit-list.ts";
import { headRoles } from "../../circuits/roles/roles.ts";
import { circuitNodes } from "../../common/circuit-files/nodes.ts";
import { HeadscopeError } from "../../common/errors.ts";
import type { Head } from "../../common/heads/head.ts";
import { checkModel, headModel } from "../../common/heads/model.ts";
import { readJson } from "../../json.ts";
import type { Model } from "../../models/model.ts";
import type { Context } from "../context.ts";
import { readPairFile } from "../inputs/case-files.ts";
import { withModel } from "../model.ts";
import { rolesText } from "../text/roles.ts";
import type { CircuitPairOptions } from "./circuit.run.ts";

/** Options of `headscope circuit roles`. */
export interface CircuitRolesOptions extends CircuitPairOptions {
  circuit?: string;
  edges?: number;
}

/** Suggests the roles of heads. */
export async function rolesCommand(context: Context, options: CircuitRolesOptions): Promise<void> {
  const { circuit: file, edges, metric, pairFile, prependBos } = options;
  if (edges !== undefined && file === undefined)
    throw new HeadscopeError("usage", "--edges counts those of a circuit, and none is named", {
      remedy: "name one with --circuit",
      field: "edges",
    });
  const circuit = file === undefined ? undefined : parseScoredCircuit(await readJson(file, "circuit file"), file);
  await withModel(context, options, async (model) => {
    const pairs = await readPairFile(pairFile, model, prependBos);
    const { signal, progress } = context;
    if (circuit?.model) checkModel({ model: circuit.model }, headModel(model), file);
    const heads = circuit && headsOf(circuit.edges.slice(0, edges), model, file!);
    const result = await headRoles(model, { pairs, heads, metric: metric ?? circuit?.metric, signal, progress });
    await context.print(result, () => rolesText(result, model.ref));
  });
}

/** The heads that edges touch. @throws HeadscopeError (input) for edges that touch none */
function headsOf(edges: Parameters<typeof circuitNodes>[0], { config }: Model, file: string): Head[] {
  const nodes = circuitNodes(edges, config.n_layers);
  const heads = nodes.flatMap(({ layer, head }) => (head === undefined ? [] : [{ layer, head }]));
  if (heads.length > 0) return heads;
  throw new HeadscopeError("input", `${file} has no edge from or to a head`, { remedy: "give more edges" });
}
