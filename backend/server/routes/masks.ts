import { z } from "zod";
import { headMaskSchema } from "../../common/api/documents.ts";
import { documentId, modelRef, shortName } from "../../common/api/fields.ts";
import { type Head, parseHead } from "../../common/heads/head.ts";
import { type HeadMask, maskFromHeads, maskFromKvHeads, maskFromScores, parseMask } from "../../common/heads/mask.ts";
import type { HeadModel } from "../../common/heads/model.ts";
import type { ServerContext } from "../context.ts";
import type { Limits } from "../http/limits.ts";
import { route } from "../http/route.ts";

const id = z.object({ id: documentId.describe('path below the data folder, such as "start/mask.json"') });

/** What POST takes: MaskRequest. */
function request({ entries }: Limits) {
  const heads = z.array(z.string().max(16)).max(entries);
  const common = {
    name: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, "must be a plain file name")
      .optional()
      .describe("keeps it as masks/NAME.json"),
    sink: z.int().min(0).optional().describe("first tokens that a streaming head keeps, default 64"),
    recent: z.int().min(1).optional().describe("latest tokens that it keeps, default 256"),
  };
  return z.union([
    z.strictObject({
      ...common,
      scores: documentId.describe("id of a score document"),
      metric: shortName.optional(),
      top: z.int().min(0).optional(),
      quantile: z.number().min(0).max(1).optional(),
      threshold: z.number().optional(),
    }),
    z.strictObject({
      ...common,
      model: modelRef,
      kvHeads: heads.describe("KV heads that keep everything, LAYER.HEAD"),
    }),
    z.strictObject({ ...common, model: modelRef, ablate: heads.describe("query heads, LAYER.HEAD") }),
    z.strictObject({ ...common, mask: headMaskSchema.describe("a mask document") }),
  ]);
}

type Request = z.output<ReturnType<typeof request>>;

export const maskRoutes = [
  route({
    method: "get",
    path: "/masks",
    summary: "The masks in the data folder",
    answer: { description: "A list of MaskEntry" },
    handle: (_, { library }) => library.masks(),
  }),
  route({
    method: "post",
    path: "/masks",
    summary: "Makes a mask from scores, heads or a document, and keeps it where it is given a name",
    body: request,
    size: "documentBytes",
    answer: { status: 201, description: "{ mask, id? }" },
    async handle({ body, signal }, context) {
      const mask = await makeMask(body, context, signal);
      if (body.name === undefined) return { mask };
      const kept = `masks/${body.name}.json`;
      await context.library.writeMask(kept, mask);
      context.watcher.changed();
      return { mask, id: kept };
    },
  }),
  route({
    method: "get",
    path: "/masks/*id",
    summary: "One mask",
    params: id,
    answer: { description: "headscope.head-mask/1", schema: headMaskSchema },
    handle: ({ params }, { library }) => library.readMask(params.id),
  }),
  route({
    method: "delete",
    path: "/masks/*id",
    summary: "Removes a mask",
    params: id,
    answer: { description: "Nothing" },
    async handle({ params }, { library, watcher }) {
      await library.remove(params.id, "mask");
      watcher.changed();
    },
  }),
];

async function makeMask(body: Request, { library, models }: ServerContext, signal: AbortSignal): Promise<HeadMask> {
  if ("mask" in body) return parseMask(body.mask, "the mask");
  const { name: _, ...given } = body;
  if ("scores" in given) {
    const { scores: id, ...rule } = given;
    return maskFromScores(await library.readScores(id), { ...rule, scoresFile: id });
  }
  const { layers, heads, kvHeads, ref, family, digest } = await models.describe(given.model, signal);
  const model: HeadModel = { ref, family, digest, layers, heads, kvHeads };
  if ("kvHeads" in given) return maskFromKvHeads(model, refs(given.kvHeads, { layers, heads: kvHeads }), given);
  return maskFromHeads(model, refs(given.ablate, model));
}

function refs(heads: readonly string[], shape: { layers: number; heads: number }): Head[] {
  return heads.map((head) => parseHead(head, shape));
}
