import { z } from "zod";
import { headMaskSchema } from "../../common/api/documents.ts";
import { documentId } from "../../common/api/fields.ts";
import { maskAnswer, maskEntrySchema, maskRequest } from "../../common/api/heads.ts";
import { type Head, parseHead } from "../../common/heads/head.ts";
import { type HeadMask, maskFromHeads, maskFromKvHeads, maskFromScores, parseMask } from "../../common/heads/mask.ts";
import type { HeadModel } from "../../common/heads/model.ts";
import type { ServerContext } from "../context.ts";
import { route } from "../http/route.ts";

const id = z.object({ id: documentId.describe('path below the data folder, such as "start/mask.json"') });

type Request = z.output<ReturnType<typeof maskRequest>>;

export const maskRoutes = [
  route({
    method: "get",
    path: "/masks",
    summary: "The masks in the data folder",
    answer: { description: "A list of MaskEntry", schema: z.array(maskEntrySchema) },
    handle: (_, { library }) => library.masks(),
  }),
  route({
    method: "post",
    path: "/masks",
    summary: "Makes a mask from scores, heads or a document, and keeps it where it is given a name",
    body: maskRequest,
    size: "documentBytes",
    answer: { status: 201, description: "{ mask, id? }", schema: maskAnswer },
    async handle({ body, signal }, context) {
      const mask = await makeMask(body, context, signal);
      if (body.name === undefined) return { mask };
      const place = `masks/${body.name}.json`;
      await context.library.writeMask(place, mask);
      context.watcher.changed();
      return { mask, id: place };
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
    answer: { status: 204, description: "Nothing" },
    async handle({ params }, { library, watcher }) {
      await library.remove(params.id, "mask");
      watcher.changed();
    },
  }),
];

async function makeMask(body: Request, { library, models }: ServerContext, signal: AbortSignal): Promise<HeadMask> {
  if ("mask" in body) return parseMask(body.mask, "the mask");
  const { name: _, ...choice } = body;
  if ("scores" in choice) {
    const { scores: id, ...rule } = choice;
    return maskFromScores(await library.readScores(id), { ...rule, scoresFile: id });
  }
  const { layers, heads, kvHeads, ref, family, digest } = await models.describe(choice.model, signal);
  const model: HeadModel = { ref, family, digest, layers, heads, kvHeads };
  if ("kvHeads" in choice) return maskFromKvHeads(model, refs(choice.kvHeads, { layers, heads: kvHeads }), choice);
  return maskFromHeads(model, refs(choice.ablate, model));
}

function refs(heads: readonly string[], shape: { layers: number; heads: number }): Head[] {
  return heads.map((head) => parseHead(head, shape));
}
